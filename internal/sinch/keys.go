package sinch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"rotator/internal/call"
	"rotator/internal/secret"
)

// AccessKey is an access key as Sinch describes it, without its secret.
type AccessKey struct {
	ID          string
	DisplayName string // unique within the project; any Unicode
	ProjectID   string
	CreatedAt   time.Time
	UpdatedAt   time.Time // zero when Sinch does not say
}

// Listing is the whole list of a project's keys, in no order.
type Listing struct {
	Keys       []AccessKey
	ServerTime time.Time // Date header of the last page, zero if it had none
}

// ListKeys returns all keys of a project, or an error; an answer that may not
// be whole is ErrIncomplete.
func (c *Client) ListKeys(ctx context.Context, project string) (Listing, error) {
	l, err := c.listKeys(ctx, c.own.Load, project)
	if err != nil {
		return Listing{}, fmt.Errorf("listing access keys: %w", err)
	}
	return l, nil
}

// ListOwn proves that the credentials can list the project's keys, which is
// what rotator's own key must be able to do.
func (c *Client) ListOwn(ctx context.Context, project string, cred Credentials) error {
	s := c.newSession(cred)
	if _, err := c.listKeys(ctx, func() *session { return s }, project); err != nil {
		return fmt.Errorf("listing access keys as %s: %w", cred.KeyID, &otherKeyError{err})
	}
	return nil
}

func (c *Client) listKeys(ctx context.Context, as func() *session, project string) (Listing, error) {
	var l Listing
	ids := map[string]bool{}
	for turn := (pages{limit: 100}); ; {
		r, err := c.keysRequest(opList, http.MethodGet, project)
		if err != nil {
			return Listing{}, err
		}
		r.url += turn.query()
		a, err := c.repeat(ctx, as, r)
		if err != nil {
			return Listing{}, err
		}
		keys, next, err := parseKeys(a.body, project)
		if err == nil {
			err = turn.to(next)
		}
		for _, k := range keys {
			if ids[k.ID] && err == nil {
				err = fmt.Errorf("access key %q is listed twice", k.ID)
			}
			ids[k.ID] = true
		}
		if err != nil {
			return Listing{}, r.unreadable(a, err)
		}
		l.Keys = append(l.Keys, keys...)
		if turn.done {
			l.ServerTime, _ = http.ParseTime(a.header.Get("Date"))
			return l, nil
		}
	}
}

// GetKey returns one key. ErrNotFound means that Sinch has no such key.
func (c *Client) GetKey(ctx context.Context, project, key string) (AccessKey, error) {
	k, err := c.getKey(ctx, project, key)
	if err != nil {
		return AccessKey{}, fmt.Errorf("getting access key: %w", err)
	}
	return k, nil
}

func (c *Client) getKey(ctx context.Context, project, key string) (AccessKey, error) {
	r, err := c.keyRequest(opGet, http.MethodGet, project, key)
	if err != nil {
		return AccessKey{}, err
	}
	a, err := c.repeat(ctx, c.own.Load, r)
	if err != nil {
		return AccessKey{}, err
	}
	return r.sameKey(a)
}

// CreateKey makes an access key and returns it with its secret, which Sinch
// tells this once. It sends one request, whatever happens:
//
//   - ErrNotApplied: there is no such key; go on with a fresh display name.
//   - ErrStateUnknown: there may be one, its secret is lost.
//   - ErrPermanent: refused; ErrFull, ErrNameTaken and ErrForbidden say why.
func (c *Client) CreateKey(ctx context.Context, project, displayName string) (AccessKey, secret.Value, error) {
	k, s, err := c.createKey(ctx, project, displayName)
	if err != nil {
		return AccessKey{}, secret.Value{}, fmt.Errorf("creating access key: %w", err)
	}
	return k, s, nil
}

func (c *Client) createKey(ctx context.Context, project, displayName string) (AccessKey, secret.Value, error) {
	r, err := c.keysRequest(opCreate, http.MethodPost, project)
	if err != nil {
		return AccessKey{}, secret.Value{}, err
	}
	r.mutating, r.once = true, true
	r.setName(displayName)
	r.inspect = func(status int, body []byte, into *call.Result) {
		r.inspectError(status, body, into)
		into.Key = createdID(status, body)
	}
	a, err := c.send(ctx, c.own.Load(), r)
	if err != nil {
		return AccessKey{}, secret.Value{}, err
	}
	k, s, err := parseCreated(a.body, project)
	if err != nil {
		return AccessKey{}, secret.Value{}, r.unreadable(a, err)
	}
	return k, s, nil
}

// createdID finds the new key's id, also in an answer that has no secret.
func createdID(status int, body []byte) string {
	var b struct {
		Key struct {
			ID string `json:"accessKeyId"`
		} `json:"accessKey"`
	}
	if status < 200 || status > 299 || json.Unmarshal(body, &b) != nil || !validID(b.Key.ID) {
		return ""
	}
	return b.Key.ID
}

// RenameKey sets a key's display name. ErrNameTaken means that another key of
// the project has it.
func (c *Client) RenameKey(ctx context.Context, project, key, displayName string) (AccessKey, error) {
	k, err := c.renameKey(ctx, project, key, displayName)
	if err != nil {
		return AccessKey{}, fmt.Errorf("renaming access key: %w", err)
	}
	return k, nil
}

func (c *Client) renameKey(ctx context.Context, project, key, displayName string) (AccessKey, error) {
	r, err := c.keyRequest(opUpdate, http.MethodPatch, project, key)
	if err != nil {
		return AccessKey{}, err
	}
	r.mutating = true
	r.setName(displayName)
	a, err := c.repeat(ctx, c.own.Load, r)
	if err != nil {
		return AccessKey{}, err
	}
	return r.sameKey(a)
}

// DeleteKey deletes a key. Nil means that Sinch says the key is gone, by this
// call or before it.
func (c *Client) DeleteKey(ctx context.Context, project, key string) error {
	r, err := c.keyRequest(opDelete, http.MethodDelete, project, key)
	if err == nil {
		r.mutating = true
		_, err = c.repeat(ctx, c.own.Load, r)
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("deleting access key: %w", err)
	}
	return nil
}

// repeat sends the request until it is answered, as retry.go describes.
func (c *Client) repeat(ctx context.Context, as func() *session, r request) (a answer, err error) {
	err = again(ctx, callAttempts, retryable, func(ctx context.Context) (err error) {
		a, err = c.send(ctx, as(), r)
		return err
	})
	return a, err
}

func (c *Client) keysRequest(operation, method, project string) (r request, err error) {
	r = request{operation: operation, method: method, project: project, attempts: new(atomic.Int32)}
	r.inspect = r.inspectError
	r.url, err = r.path(c.cfg.AccessKeysURL, "v1", "projects", project, "accessKeys")
	return r, err
}

func (c *Client) keyRequest(operation, method, project, key string) (r request, err error) {
	r = request{operation: operation, method: method, project: project, key: key, attempts: new(atomic.Int32)}
	r.inspect = r.inspectError
	r.url, err = r.path(c.cfg.AccessKeysURL, "v1", "projects", project, "accessKeys", key)
	return r, err
}

func (r *request) setName(displayName string) {
	r.name, r.contentType = displayName, "application/json"
	r.body = []byte(`{"displayName":` + quote(displayName) + `}`)
}

// quote is a JSON string; any Go string has one.
func quote(text string) string {
	b, _ := json.Marshal(text) // a string cannot fail
	return string(b)
}

// sameKey reads an answer that must be about the key asked for.
func (r request) sameKey(a answer) (AccessKey, error) {
	k, err := parseKey(a.body, r.project)
	if err == nil && k.ID != r.key {
		err = fmt.Errorf("answer is about access key %q", k.ID)
	}
	if err != nil {
		return AccessKey{}, r.unreadable(a, err)
	}
	return k, nil
}
