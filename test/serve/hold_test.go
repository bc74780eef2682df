package serve_test

import (
	"net/http"
	"strings"

	"rotator/internal/sinch/sinchtest"
	"rotator/test/rig"
)

// holdOwn keeps one request that replaces rotator's own key: before it is
// applied, or its answer.
func (w *world) holdOwn(op string, applied bool) (arrived <-chan struct{}, release func()) {
	w.T.Helper()
	if op == "vault.write" {
		h := rig.NewHeld(w.T)
		do := h.Before
		if applied {
			do = h.After
		}
		w.Gate.On(1, rig.Publishing("rotator"), do)
		return h.Arrived, h.Release
	}
	if op == "token.exchange" { // of the new key, which has just been made
		h := rig.NewHeld(w.T)
		do := h.Before
		if applied {
			do = h.After
		}
		w.Gate.On(1, func(r *http.Request) bool {
			key, _, _ := r.BasicAuth()
			return strings.HasSuffix(r.URL.Path, "/oauth2/token") && key != w.Own.KeyID
		}, do)
		return h.Arrived, h.Release
	}
	return w.HoldSinch(applied, sinchtest.Fault{Operation: op, Project: rig.Parent})
}
