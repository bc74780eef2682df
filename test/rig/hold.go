package rig

import (
	"net/http"
	"sync"
	"testing"

	"rotator/internal/sinch/sinchtest"
)

// Held is a request that is kept, or its answer. Before and After are the
// Actions that keep it.
type Held struct {
	Arrived chan struct{} // closed when it is being kept
	Passed  chan struct{} // closed when it has been handed on and answered
	Free    chan struct{} // closed by Release
	Release func()
}

// NewHeld returns one that is released at the test's end at the latest.
func NewHeld(t *testing.T) *Held {
	t.Helper()
	h := &Held{Arrived: make(chan struct{}), Passed: make(chan struct{}), Free: make(chan struct{})}
	h.Release = sync.OnceFunc(func() { close(h.Free) })
	t.Cleanup(h.Release)
	return h
}

// Before keeps one request until it is released.
func (h *Held) Before(w http.ResponseWriter, _ *http.Request, pass func(http.ResponseWriter)) {
	close(h.Arrived)
	<-h.Free
	defer close(h.Passed)
	pass(w)
}

// After hands one request on and keeps its answer until it is released.
func (h *Held) After(w http.ResponseWriter, _ *http.Request, pass func(http.ResponseWriter)) {
	defer close(h.Passed)
	pass(w)
	close(h.Arrived)
	<-h.Free
}

// Drop is the Action that closes the connection; the server sees nothing.
func Drop(http.ResponseWriter, *http.Request, func(http.ResponseWriter)) {
	panic(http.ErrAbortHandler)
}

// HoldSinch keeps one request to the simulator: before it is applied, or its
// answer.
func (w *World) HoldSinch(applied bool, f sinchtest.Fault) (arrived <-chan struct{}, release func()) {
	var h *sinchtest.Held
	if applied {
		f.Do, h = sinchtest.AppliedHold()
	} else {
		f.Do, h = sinchtest.Hold()
	}
	f.Times = 1
	w.Sim.Fault(f)
	w.T.Cleanup(h.Release)
	came := make(chan struct{})
	go func() {
		select {
		case <-h.Arrived():
			close(came)
		case <-w.T.Context().Done():
		}
	}()
	return came, h.Release
}
