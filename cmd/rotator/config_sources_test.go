package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rotator/internal/vault"
)

func TestEnvFileSyntax(t *testing.T) {
	t.Parallel()
	got, err := parseEnvFile("f", strings.Join([]string{
		"# a comment", "", "A=1", "  export B = two words ", `C="quo'ted"`, "D='p$x#y'", "E=", "F=a=b", "G=has#hash", `H=in"side`, "I=crlf\r",
	}, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := envFile{"A": "1", "B": "two words", "C": "quo'ted", "D": "p$x#y", "E": "", "F": "a=b", "G": "has#hash", "H": `in"side`, "I": "crlf"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("(-want +got):\n" + diff)
	}
}

func TestEnvFileErrorsNameTheLine(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "env")
	write(t, path, "A=1\nhunter2hunter2\nA=2\nB='open\n1X=3\n")
	msg := problemsOf(t, needNothing, envFile{}, path, path+".missing")
	for _, want := range []string{
		path + ":2: is not a KEY=VALUE line", path + ":3: A is set a second time",
		path + ":4: B begins with a quote", path + ":5: is not", "--env-file: cannot be read: open " + path + ".missing",
	} {
		if !strings.Contains(msg, want) {
			t.Errorf("the message lacks %q:\n%s", want, msg)
		}
	}
	if strings.Contains(msg, "hunter2") {
		t.Error("the message shows a line's text")
	}
}

func TestEnvironmentWinsOverFilesAndLaterFilesOverEarlier(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	one, two, value := filepath.Join(dir, "one"), filepath.Join(dir, "two"), filepath.Join(dir, "value")
	write(t, one, "ROTATOR_LISTEN=:1\nVAULT_KV_MOUNT=one\nVAULT_KV_PREFIX=one\nROTATOR_TYPO_HERE=x\n")
	write(t, two, "ROTATOR_LISTEN=:2\nVAULT_KV_MOUNT=two\n")
	write(t, value, "three\n")
	c := mustLoad(t, needNothing, envFile{"ROTATOR_LISTEN": ":3", "VAULT_KV_MOUNT": "", "VAULT_KV_PREFIX_FILE": value}, one, two)
	got := [...]string{c.Serve.Listen, c.Vault.KVMount, c.Vault.KVPrefix}
	if want := [...]string{":3", "two", "three"}; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "ROTATOR_TYPO_HERE in "+one) {
		t.Errorf("warnings are %q", c.Warnings)
	}
}

func TestValueFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := func(name, text string) string { p := filepath.Join(dir, name); write(t, p, text); return p }

	secret := path("secret", "two\nlines \r\n")
	c := mustLoad(t, needSinch, envFile{"SINCH_PROJECT_ID": "p", "SINCH_KEY_ID": "id", "SINCH_KEY_SECRET_FILE": secret})
	if got := c.Sinch.KeySecret.Reveal(); got != "two\nlines " {
		t.Errorf("the value is %q: only the last newline goes", got)
	}
	if c := mustLoad(t, needNothing, envFile{"VAULT_JWT_FILE": secret}); c.Vault.JWTFile != secret {
		t.Errorf("VAULT_JWT_FILE is %q, want the path itself, which is read at every login", c.Vault.JWTFile)
	}
	c = mustLoad(t, needNothing, envFile{"VAULT_TOKEN_FILE": secret, "VAULT_SECRET_ID_FILE": secret})
	if login := c.vaultAuth(); login.TokenFile != secret || login.SecretIDFile != secret {
		t.Errorf("the login is %+v: it must know the files, which are read again", login)
	}

	for name, test := range map[string]struct {
		env  envFile
		want string
	}{
		"both":    {envFile{"SINCH_PROJECT_ID": "p", "SINCH_PROJECT_ID_FILE": secret}, "SINCH_PROJECT_ID: is set twice"},
		"missing": {envFile{"SINCH_PROJECT_ID_FILE": dir + "/none"}, "SINCH_PROJECT_ID_FILE: cannot be read: open " + dir + "/none"},
		"empty":   {envFile{"SINCH_PROJECT_ID_FILE": path("empty", "\n")}, "SINCH_PROJECT_ID_FILE: " + dir + "/empty is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if msg := problemsOf(t, needSinch, test.env); !strings.Contains(msg, test.want) || !strings.HasPrefix(msg, "1 problem ") {
				t.Errorf("got %q, want one problem with %q", msg, test.want)
			}
		})
	}
}

// TestUnwrappedIsKept: serve reads the configuration each time it tries to
// start, and a wrapping token can be unwrapped only once.
func TestUnwrappedIsKept(t *testing.T) {
	t.Parallel()
	c := &cli{streams: streams{env: minimal()}}
	var seen []*vault.Unwrapped
	for range 2 {
		cfg, err := c.config(t.Context(), needVault)
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, cfg.vaultAuth().Unwrapped)
	}
	if seen[0] == nil || seen[0] != seen[1] {
		t.Error("what a wrapping token held is forgotten between two tries")
	}
}

// FuzzEnvFile: whatever the text, no panic; and a value written in single
// quotes comes back as it was.
func FuzzEnvFile(f *testing.F) {
	f.Add("A=1\n# x\nexport B='y'")
	f.Add("=\n'\n\"")
	f.Fuzz(func(t *testing.T, text string) {
		vars, _ := parseEnvFile("f", text)
		for name := range vars {
			if !isName(name) {
				t.Errorf("%q is taken for a name", name)
			}
		}
		if strings.Contains(text, "\n") {
			return
		}
		again, err := parseEnvFile("f", "A='"+text+"'")
		if err != nil || again["A"] != text {
			t.Errorf("%q came back as %q, %v", text, again["A"], err)
		}
	})
}

func TestDistance(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"abc", "", 3}, {"", "abc", 3}, {"kitten", "sitting", 3}, {"flaw", "lawn", 2}, {"same", "same", 0}} {
		if got := distance(test.a, test.b); got != test.want {
			t.Errorf("%q and %q are %d apart, want %d", test.a, test.b, got, test.want)
		}
	}
}
