package kill_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"rotator/test/rig"
)

// wire puts the gate before the database that link leads to and returns the
// URL that leads through it. Every commit is a step: of a transaction, and of
// a statement that changes something outside of one.
func (g *gate) wire(t *testing.T, link string, latency func() time.Duration) (through string) {
	t.Helper()
	to, err := pgx.ParseConfig(link)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	network, address := pgconn.NetworkAddress(to.Host, to.Port)
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial(network, address)
			if err != nil {
				_ = client.Close()
				continue
			}
			c := &conversation{gate: g, client: client, server: server, latency: latency, prepared: map[string]string{}}
			go c.questions()
			go c.answers()
		}
	}()
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(to.User, to.Password),
		Host: listener.Addr().String(), Path: "/" + to.Database, RawQuery: "sslmode=disable",
	}
	return u.String()
}

// conversation is one connection, as far as it must be understood to know
// what commits.
type conversation struct {
	gate           *gate
	client, server net.Conn
	latency        func() time.Duration

	prepared map[string]string // statement → SQL
	changes  []string          // what the open transaction has done so far
	begun    bool              // a transaction, since the last Sync
	batch    bool              // it has been noted, up to the next Sync
	inside   atomic.Bool       // a transaction, as of the last answer
	held     atomic.Pointer[hold]
}

func (c *conversation) close() {
	_ = c.client.Close()
	_ = c.server.Close()
}

// questions hands on what the client says.
func (c *conversation) questions() {
	defer c.gate.begin()()
	defer c.close()
	in, out := bufio.NewReader(c.client), bufio.NewWriter(c.server)
	first := true // the first message has no type
	for {
		kind, message, err := read(in, first)
		if err != nil {
			return
		}
		first = false
		if label := c.step(kind, message); label != "" {
			h := c.gate.enter(label)
			time.Sleep(c.latency())
			if h != nil && !h.after {
				h.keep()
				return
			}
			if h != nil {
				c.held.Store(h)
			}
		}
		if _, err = out.Write(message); err == nil && in.Buffered() == 0 {
			err = out.Flush()
		}
		if err != nil {
			return
		}
	}
}

// answers hands on what the server says, until the answer that is to be held.
func (c *conversation) answers() {
	defer c.close()
	in, out := bufio.NewReader(c.server), bufio.NewWriter(c.client)
	for {
		kind, message, err := read(in, false)
		if err != nil {
			return
		}
		ready := kind == 'Z' // with the state of the transaction
		if ready {
			c.inside.Store(message[5] != 'I')
		}
		if h := c.held.Load(); h != nil {
			if ready {
				h.keep()
				return
			}
			continue
		}
		if _, err = out.Write(message); err == nil && in.Buffered() == 0 {
			err = out.Flush()
		}
		if err != nil {
			return
		}
	}
}

// read reads one message, whole.
func read(in *bufio.Reader, untyped bool) (kind byte, message []byte, err error) {
	header := 5
	if untyped {
		header = 4
	}
	message = make([]byte, header)
	if _, err = io.ReadFull(in, message); err != nil {
		return 0, nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(message[header-4:])-4)
	if _, err = io.ReadFull(in, body); err != nil {
		return 0, nil, err
	}
	if !untyped {
		kind = message[0]
	}
	return kind, append(message, body...), nil
}

// step says what a message commits; empty if nothing.
func (c *conversation) step(kind byte, message []byte) string {
	var sql string
	switch kind {
	case 'P': // name, SQL
		parts := bytes.SplitN(message[5:], []byte{0}, 3)
		c.prepared[string(parts[0])] = string(parts[1])
		return ""
	case 'B': // portal, name
		parts := bytes.SplitN(message[5:], []byte{0}, 3)
		sql = c.prepared[string(parts[1])]
	case 'Q':
		sql = string(bytes.TrimRight(message[5:], "\x00"))
	case 'S': // what came since the last one commits together
		c.batch, c.begun = false, false
		return ""
	default:
		return ""
	}
	if strings.EqualFold(sql, "commit") {
		label := strings.Join(c.changes, " + ")
		c.changes = nil
		if label == "" {
			return "" // it has changed nothing
		}
		return "postgres: " + label
	}
	if strings.HasPrefix(strings.ToLower(sql), "begin") || strings.EqualFold(sql, "rollback") {
		c.changes, c.begun = nil, kind == 'B' && !strings.EqualFold(sql, "rollback")
		return ""
	}
	change := changeOf(sql, message)
	switch {
	case change == "" || c.batch:
		return ""
	case c.begun || c.inside.Load():
		c.changes = append(c.changes, change)
		return ""
	}
	c.batch = kind == 'B'
	return "postgres: " + change
}

var (
	writing   = regexp.MustCompile(`(?is)\b(insert into|update|delete from)\s+rotator\.(\w+)`)
	eventType = regexp.MustCompile(`^"type":"([\w.]+)"(?:,"phase":"(\w+)")?`)
	eventOp   = regexp.MustCompile(`"op":"([\w.]+)"`)
)

// changeOf says what a statement changes; empty if nothing, or if it is done
// by the clock and not by the run.
func changeOf(sql string, message []byte) string {
	if strings.Contains(sql, "audit.append(") {
		return appended(message)
	}
	found := writing.FindStringSubmatch(sql)
	switch {
	case found == nil, strings.Contains(sql, "SET lease_expires_at"), found[2] == "process":
		return ""
	case strings.Contains(sql, "SKIP LOCKED"):
		return "claim"
	}
	return strings.ToLower(found[1]) + " " + found[2]
}

// appended names the events that a statement appends to the log, but for the
// outcomes of reads.
func appended(message []byte) string {
	var names []string
	for _, body := range bytes.Split(message, []byte(`{"v":`))[1:] {
		_, body, _ = bytes.Cut(body, []byte(`,"t_us":`))
		_, body, _ = bytes.Cut(body, []byte(","))
		at := eventType.FindSubmatch(body)
		if at == nil {
			continue
		}
		name := string(at[1])
		if op := eventOp.FindSubmatch(body); op != nil {
			if !rig.Mutates(string(op[1])) {
				continue // it is committed with whatever comes next, or when the clock says so
			}
			name = string(at[2]) + " of " + string(op[1])
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}
