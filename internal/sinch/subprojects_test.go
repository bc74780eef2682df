package sinch_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"rotator/internal/sinch"
	"rotator/internal/sinch/sinchtest"
)

const opSubprojects = "subprojects.list"

func collect(t *testing.T, c *sinch.Client) (subs []sinch.Subproject, err error) {
	t.Helper()
	for s, e := range c.Subprojects(t.Context(), parent) {
		if err != nil {
			t.Error("went on after an error")
		}
		if e != nil {
			err = e
			continue
		}
		subs = append(subs, s)
	}
	return subs, err
}

func TestSubprojects(t *testing.T) {
	t.Parallel()
	for mode, wantPath := range map[string]string{"auto": "/v1/", "v1": "/v1/", "v1alpha1": "/v1alpha1/"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			g := start(t, sinchtest.Config{PageSizeMax: 3, ExtraFields: true}, func(c *sinch.Config) { c.Subprojects = mode })
			want := []sinch.Subproject{{ID: child, DisplayName: "Child", ParentID: parent}}
			for i := range 10 {
				s := sinch.Subproject{ID: fmt.Sprintf("s%d", i), DisplayName: "same", ParentID: parent, Labels: map[string]string{"rotator.max-age": "30d"}}
				g.AddSubproject(parent, s.ID, s.DisplayName, s.Labels)
				want = append(want, s)
			}
			got, err := collect(t, g.Client)
			if err != nil {
				t.Fatal(err)
			}
			slices.SortFunc(got, func(a, b sinch.Subproject) int { return strings.Compare(a.ID, b.ID) })
			if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(sinch.Subproject{}, "CreatedAt"), cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
			for _, r := range g.Requests() {
				if r.Operation == opSubprojects && !strings.HasPrefix(r.Path, wantPath) {
					t.Errorf("asked %s", r.Path)
				}
			}
		})
	}
}

func TestSubprojectsRefused(t *testing.T) {
	t.Parallel()
	for _, status := range []int{403, 404, 405, 501} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			g := start(t, sinchtest.Config{Refuse: map[string]int{"v1": status}})
			if subs, err := collect(t, g.Client); err != nil || len(subs) != 1 {
				t.Errorf("v1 refused: %v, %v", subs, err)
			}
			g.Refuse("v1alpha1", status)
			_, err := collect(t, g.Client)
			if err == nil || !strings.Contains(err.Error(), "SINCH_SUBPROJECTS=off") || strings.Contains(err.Error(), "\n") {
				t.Errorf("error gives no advice, or many lines: %v", err)
			}
			want := []error{sinch.ErrNoSubprojects, sinch.ErrPermanent}
			switch status {
			case 403:
				want = append(want, sinch.ErrForbidden)
			case 404:
				want = append(want, sinch.ErrNotFound)
			}
			matches(t, err, want...)
			g.Refuse("v1", 0) // a refusal is not remembered
			if subs, err := collect(t, g.Client); err != nil || len(subs) != 1 {
				t.Errorf("v1 back: %v, %v", subs, err)
			}
		})
	}
}

// TestSubprojectsFailing: what is not a refusal of the version does not make
// the client ask the other.
func TestSubprojectsFailing(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		do   sinchtest.Behaviour
		want []error
	}{
		"401":            {sinchtest.Status(401), []error{sinch.ErrUnauthenticated, sinch.ErrPermanent}},
		"400":            {sinchtest.Status(400), []error{sinch.ErrPermanent}},
		"not JSON":       {sinchtest.NotJSON(), []error{sinch.ErrIncomplete}},
		"repeated token": {sinchtest.RepeatToken(), []error{sinch.ErrIncomplete}},
		"other parent":   {sinchtest.Answer(200, `{"subprojects":[{"subprojectId":"a","parentProjectId":"b"}]}`, nil), []error{sinch.ErrIncomplete}},
		"bad time":       {sinchtest.Answer(200, `{"subprojects":[{"subprojectId":"a","createTime":"x"}]}`, nil), []error{sinch.ErrIncomplete}},
		"redirect":       {sinchtest.Answer(301, "", http.Header{"Location": {"/"}}), []error{sinch.ErrPermanent}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := start(t, sinchtest.Config{PageSizeMax: 1})
			g.AddSubproject(parent, "s1", "one", nil)
			g.AddSubproject(parent, "s2", "two", nil)
			g.Fault(sinchtest.Fault{Operation: opSubprojects, Do: tc.do})
			_, err := collect(t, g.Client)
			matches(t, err, tc.want...)
			for _, r := range g.Requests() {
				if strings.HasPrefix(r.Path, "/v1alpha1/") {
					t.Error("asked the other version")
				}
			}
		})
	}
}

// TestSubprojectsOfNoUse: one odd id does not hide the others.
func TestSubprojectsOfNoUse(t *testing.T) {
	t.Parallel()
	c := answering(t, &recorder{}, 200, []byte(`{"subprojects":[{},{"subprojectId":".."},{"subprojectId":"a"}]}`))
	subs, err := collect(t, c)
	if err != nil || len(subs) != 3 || subs[2].ID != "a" {
		t.Errorf("got %+v, %v", subs, err)
	}
}

func TestSubprojectsRefusedLater(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{PageSizeMax: 1})
	g.AddSubproject(parent, "s1", "one", nil)
	g.Fault(sinchtest.Fault{Operation: opSubprojects, After: 1, Do: sinchtest.Status(403)})
	subs, err := collect(t, g.Client)
	matches(t, err, sinch.ErrForbidden, sinch.ErrPermanent)
	if len(subs) != 1 {
		t.Errorf("%d subprojects before the refusal", len(subs))
	}
}

func TestSubprojectsStream(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{PageSizeMax: 1})
	for i := range 5 {
		g.AddSubproject(parent, fmt.Sprint(i), "s", nil)
	}
	for _, err := range g.Client.Subprojects(t.Context(), parent) {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	if n := g.sent(opSubprojects); n != 1 {
		t.Errorf("%d pages asked for one subproject", n)
	}
}

func TestSubprojectsOff(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{}, func(c *sinch.Config) { c.Subprojects = "off" })
	if subs, err := collect(t, g.Client); err != nil || len(subs) != 0 {
		t.Errorf("got %v, %v", subs, err)
	}
	if len(g.Requests()) != 0 {
		t.Error("asked all the same")
	}
}
