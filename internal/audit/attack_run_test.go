package audit_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"rotator/internal/audit"
)

// TestAttacks tries each attack on a log of its own. With -v it prints the
// matrix: what stopped the attack in passing, how it got round that, and what
// verification says.
func TestAttacks(t *testing.T) {
	t.Parallel()
	matrix := make([]string, len(attacks))
	t.Run("matrix", func(t *testing.T) {
		for i, a := range attacks {
			t.Run(a.name, func(t *testing.T) {
				t.Parallel()
				s := newScene(t)
				s.stopped(t, a)
				a.do(t, s)
				v := s.verify(t, s.pool, func(c *audit.VerifyConfig) { c.Now = s.now.Add(time.Minute) })
				if v.ExitCode != a.code {
					t.Errorf("exit code %d, want %d:\n%s", v.ExitCode, a.code, shown(v))
				}
				said := strings.Join(append(slices.Clone(v.Unproven), v.Unchecked...), "; ")
				if a.kind != "" {
					f := found(t, v, a.kind)
					a.judge(t, f)
					said = f.Text
				}
				matrix[i] = fmt.Sprintf("%s\t%s\t%s\t%d\t%s", a.name, stopper(a.refusal), a.how, v.ExitCode, said)
			})
		}
	})
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ATTACK\tSTOPPED IN PASSING BY\tGOT ROUND BY\tEXIT\tVERIFY SAYS")
	for _, line := range matrix {
		fmt.Fprintln(w, line)
	}
	_ = w.Flush() // into memory
	t.Log("\n" + b.String())
}

// stopped checks that the database stops the attack in passing.
func (s *scene) stopped(t *testing.T, a attack) {
	t.Helper()
	for _, sql := range a.naive {
		conn, err := s.pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = conn.Exec(t.Context(), "begin; "+sql)
		var pg *pgconn.PgError
		if code := ""; errors.As(err, &pg) {
			if code = pg.Code; code != a.refusal {
				t.Errorf("%s: %v, want SQLSTATE %q", sql, err, a.refusal)
			}
		} else if err != nil || a.refusal != "" {
			t.Errorf("%s: %v, want SQLSTATE %q", sql, err, a.refusal)
		}
		if _, err := conn.Exec(t.Context(), "rollback; reset all"); err != nil {
			t.Fatal(err)
		}
		conn.Release()
	}
}

// judge checks a finding's words and place.
func (a attack) judge(t *testing.T, f audit.Finding) {
	t.Helper()
	for _, part := range a.says {
		if !strings.Contains(f.Text, part) {
			t.Errorf("the finding does not say %q:\n%s", part, f.Text)
		}
	}
	switch {
	case a.from == nowhere:
		if f.From != nil {
			t.Errorf("the finding names events %d to %d: %s", *f.From, *f.To, f.Text)
		}
	case f.From == nil || *f.From != a.from || *f.To != a.to:
		t.Errorf("the finding is about %v to %v, want %d to %d: %s", f.From, f.To, a.from, a.to, f.Text)
	}
}

// stopper names what raises a SQLSTATE.
func stopper(code string) string {
	switch code {
	case insufficientPrivilege:
		return "trigger"
	case checkViolation:
		return "CHECK"
	case "23505":
		return "primary key"
	}
	return "-"
}
