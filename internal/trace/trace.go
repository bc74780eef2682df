// Package trace says which piece of work belongs to which: each has a W3C
// traceparent, which goes along with its calls and into its audit events.
//
//	run → project → rotate, retire, delete_orphan → create, verify … → attempt of a call
//
// By itself it only draws numbers. Where the process was told to (Record), the
// same pieces of work are OpenTelemetry spans; otel.go alone knows of that.
package trace

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"strings"
)

// Header is the name of the HTTP header that carries a traceparent.
const Header = "Traceparent"

// Attr is what a span says beside its name. Its value is cleaned before it
// leaves the process; a secret does not belong here all the same.
type Attr struct {
	Key    string
	Text   string
	Number int // where Text is empty
}

// Text is an attribute of words.
func Text(key, value string) Attr { return Attr{Key: key, Text: value} }

// Number is an attribute that counts.
func Number(key string, value int) Attr { return Attr{Key: key, Number: value} }

// ids are what a traceparent says.
type ids struct {
	trace   [16]byte
	span    [8]byte
	sampled bool // somebody records
}

// recorder makes spans that somebody gets to see.
type recorder interface {
	// start begins a span below the one of ctx, or below from where ctx has none.
	start(ctx context.Context, from ids, name string, sends bool, attrs []Attr) (context.Context, recorded)
}

// recorded is a span that somebody gets to see.
type recorded interface {
	ids() ids
	end(attrs []Attr, failed string)
}

// Span is a piece of work under way.
type Span struct {
	ids
	parent string
	rec    recorded // nil where nobody records
}

type (
	recorderKey struct{}
	placeKey    struct{}
)

// begin begins a span. Below a span its trace goes on; else a new one begins.
func begin(ctx context.Context, name string, sends bool, attrs []Attr) (context.Context, *Span) {
	s := new(Span)
	above, below := ctx.Value(placeKey{}).(*Span)
	if below {
		s.ids = above.ids
	}
	if r, ok := ctx.Value(recorderKey{}).(recorder); ok {
		ctx, s.rec = r.start(ctx, s.ids, name, sends, attrs)
		s.ids = s.rec.ids()
	} else {
		if !below {
			_, _ = rand.Read(s.trace[:]) // it never fails
		}
		_, _ = rand.Read(s.span[:])
	}
	s.parent = s.text()
	return ctx, s
}

// Start begins a piece of work; call end with how it ended. What is done with
// the returned context belongs to it.
func Start(ctx context.Context, name string, attrs ...Attr) (_ context.Context, end func(error)) {
	ctx, s := begin(ctx, name, false, attrs)
	return context.WithValue(ctx, placeKey{}, s), func(err error) {
		if err != nil {
			s.End(err.Error())
			return
		}
		s.End("")
	}
}

// Send begins one attempt of a call; End it.
func Send(ctx context.Context, operation string, attrs ...Attr) *Span {
	_, s := begin(ctx, operation, true, attrs)
	return s
}

// End ends the span; failed says why, if it did.
func (s *Span) End(failed string, attrs ...Attr) {
	if s.rec != nil {
		s.rec.end(attrs, failed)
	}
}

// Parent is the traceparent that what this span calls is told.
func (s *Span) Parent() string { return s.parent }

// Parent is the traceparent of the work that ctx belongs to, empty outside of any.
func Parent(ctx context.Context) string {
	if s, ok := ctx.Value(placeKey{}).(*Span); ok {
		return s.parent
	}
	return ""
}

// Within returns a context whose work belongs below somebody else's span. A
// traceparent that cannot be read is as good as none, as W3C wants it.
func Within(ctx context.Context, traceparent string) context.Context {
	above, ok := parse(traceparent)
	if !ok {
		return ctx
	}
	return context.WithValue(ctx, placeKey{}, &Span{ids: above, parent: above.text()})
}

// text is the traceparent of version 00.
func (i ids) text() string {
	b := make([]byte, 0, 55)
	b = append(b, "00-"...)
	b = hex.AppendEncode(b, i.trace[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, i.span[:])
	if i.sampled {
		return string(append(b, "-01"...))
	}
	return string(append(b, "-00"...))
}

// parse reads a traceparent of version 00, or the part of a later version that
// every one has.
func parse(text string) (i ids, ok bool) {
	later := len(text) > 55 && text[55] == '-' && !strings.HasPrefix(text, "00") && !strings.HasPrefix(text, "ff")
	if len(text) != 55 && !later || strings.HasPrefix(text, "ff") || text != strings.ToLower(text) {
		return i, false
	}
	if text[2] != '-' || text[35] != '-' || text[52] != '-' {
		return i, false
	}
	var version, flags [1]byte
	for _, part := range []struct {
		to   []byte
		from string
	}{{version[:], text[:2]}, {i.trace[:], text[3:35]}, {i.span[:], text[36:52]}, {flags[:], text[53:55]}} {
		if _, err := hex.Decode(part.to, []byte(part.from)); err != nil {
			return ids{}, false
		}
	}
	i.sampled = flags[0]&1 == 1
	return i, i.trace != [16]byte{} && i.span != [8]byte{}
}
