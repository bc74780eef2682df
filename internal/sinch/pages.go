package sinch

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
)

// pageSize is asked of every list: the default of Sinch's APIs, so none
// refuses it.
const pageSize = 100

// pages walks through a list's pages.
type pages struct {
	limit int // pages at most
	done  bool
	token string
	seen  map[string]bool
}

func (p *pages) query() string {
	q := url.Values{"pageSize": {strconv.Itoa(pageSize)}}
	if p.token != "" {
		q.Set("pageToken", p.token)
	}
	return "?" + q.Encode()
}

// to goes on to the next page. A token seen before would go round for ever.
func (p *pages) to(next string) error {
	p.done = next == ""
	if p.done {
		return nil
	}
	if p.seen[next] {
		return errors.New("a page token came a second time")
	}
	if len(p.seen)+1 >= p.limit {
		return fmt.Errorf("list has more than %d pages", p.limit)
	}
	if p.seen == nil {
		p.seen = map[string]bool{}
	}
	p.seen[next], p.token = true, next
	return nil
}
