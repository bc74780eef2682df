package bench_test

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// slow puts a network of the given latency before a server and returns the
// URL. It delays what clients send, and costs next to no CPU time: whole HTTP
// requests are not looked at.
func slow(b *testing.B, address string, wait time.Duration) string {
	b.Helper()
	listener, err := (&net.ListenConfig{}).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.Context()))
	var links sync.WaitGroup
	b.Cleanup(func() { cancel(); _ = listener.Close(); links.Wait() })
	target := strings.TrimPrefix(address, "http://")
	links.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return // closed
			}
			links.Go(func() { relay(ctx, near, target, wait) })
		}
	})
	return "http://" + listener.Addr().String()
}

func relay(ctx context.Context, near net.Conn, target string, wait time.Duration) {
	far, err := (&net.Dialer{}).DialContext(ctx, "tcp", target)
	if err != nil {
		_ = near.Close()
		return
	}
	both := func() { _, _ = near.Close(), far.Close() }
	stop := context.AfterFunc(ctx, both)
	defer stop()
	var ways sync.WaitGroup
	ways.Go(func() { defer both(); _, _ = io.Copy(near, far) })
	ways.Go(func() {
		defer both()
		buf := make([]byte, 64<<10)
		for {
			n, err := near.Read(buf)
			if err != nil {
				return
			}
			time.Sleep(wait)
			if _, err := far.Write(buf[:n]); err != nil {
				return
			}
		}
	})
	ways.Wait()
}
