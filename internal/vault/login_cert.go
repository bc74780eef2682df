package vault

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"

	"rotator/internal/call"
)

// byCert is the login of method cert: the connection's client certificate.
func (a *Auth) byCert() method {
	role := a.Role
	proof := func(context.Context, *session) (map[string]any, error) {
		if role == "" {
			return nil, nil // Vault looks for a role that fits
		}
		return map[string]any{"name": role}, nil
	}
	remedy := fmt.Sprintf("what `vault list auth/%s/certs` trusts, and the certificate in VAULT_CLIENT_CERT", a.Mount)
	if role != "" {
		remedy = fmt.Sprintf("what `vault read auth/%s/certs/%s` (VAULT_AUTH_ROLE) asks of the certificate in VAULT_CLIENT_CERT", a.Mount, role)
	}
	return &issued{name: a.Method, mount: a.Mount, proof: proof, remedy: remedy}
}

// presentCertificate makes every new connection show the client certificate
// that the files hold then: certificates are short-lived and get replaced.
func presentCertificate(base http.RoundTripper, certFile, keyFile string) error {
	transport, ok := base.(*http.Transport)
	if !ok {
		return fmt.Errorf("%w: VAULT_CLIENT_CERT needs a transport of net/http, not %T", ErrConfig, base)
	}
	load := func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			return nil, fmt.Errorf("%w: VAULT_CLIENT_CERT %s and VAULT_CLIENT_KEY %s: %w", ErrConfig, certFile, keyFile, err)
		}
		return &pair, nil
	}
	if transport.TLSClientConfig == nil {
		transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	transport.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	_, err := load()
	return err
}

// freshLogins sends each login over a connection of its own, so that Vault sees
// the certificate of now and not that of an older connection.
type freshLogins struct{ *http.Transport }

// RoundTrip sends one request.
func (f freshLogins) RoundTrip(r *http.Request) (*http.Response, error) {
	if l, _ := call.LabelOf(r.Context()); l.Operation != opLogin {
		return f.Transport.RoundTrip(r) //nolint:wrapcheck // a transport adds nothing
	}
	once := f.Transport.Clone()
	once.DisableKeepAlives = true
	// HTTP/2 of the original would prefer its own connection over a new one.
	once.ForceAttemptHTTP2, once.TLSNextProto = false, map[string]func(string, *tls.Conn) http.RoundTripper{}
	if once.TLSClientConfig != nil {
		once.TLSClientConfig.NextProtos = nil
	}
	return once.RoundTrip(r) //nolint:wrapcheck // a transport adds nothing
}
