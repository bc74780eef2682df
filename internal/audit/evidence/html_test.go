package evidence_test

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"rotator/internal/audit/evidence"
)

// checkHTML parses the page as a browser would and looks for what an auditor,
// a screen reader and a suspicious reader need.
func checkHTML(t *testing.T, pack *evidence.Pack) {
	t.Helper()
	var out bytes.Buffer
	if err := pack.WriteHTML(&out); err != nil {
		t.Fatal(err)
	}
	root, err := html.Parse(&out)
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range pack.Tables {
		article := byID(root, table.ID)
		if article == nil {
			t.Errorf("there is no %s", table.ID)
			continue
		}
		if pre := first(article, atom.Pre); pre == nil || text(pre) != table.Statement() {
			t.Errorf("%s does not show its SQL", table.ID)
		}
		body := first(article, atom.Tbody)
		if table.RowCount == 0 {
			continue
		}
		caption := text(first(article, atom.Caption))
		if got := int64(len(all(body, atom.Tr))); got != table.RowCount || !strings.Contains(caption, strconv.FormatInt(got, 10)+" row") {
			t.Errorf("%s shows %d rows, there are %d; its caption is %q", table.ID, got, table.RowCount, caption)
		}
		checkCells(t, table.ID, article, len(table.Columns))
		want := rows(t, pack, table.ID, table.Columns[0].Name)[0]
		if got := text(first(body, atom.Th)); table.Columns[0].Kind == "text" && got != want {
			t.Errorf("%s begins with %q, want %q", table.ID, got, want)
		}
	}
	if got := text(byID(root, "population")); !strings.Contains(got, hostile) || !strings.Contains(got, "</td></tr></table><img src=x onerror=alert(2)>") {
		t.Errorf("the hostile name and reason are not shown as they are")
	}
	if note := text(first(byID(root, "header"), atom.Pre)); note != pack.Header.Checkpoint.Note {
		t.Errorf("the checkpoint is shown as %q", note)
	}
}

// checkCells: every row has all columns, and every heading says what it heads.
func checkCells(t *testing.T, id string, article *html.Node, columns int) {
	t.Helper()
	for _, tr := range all(article, atom.Tr) {
		if cells := len(all(tr, atom.Td)) + len(all(tr, atom.Th)); cells != columns {
			t.Errorf("%s has a row of %d cells, want %d", id, cells, columns)
		}
		scope := "row"
		if tr.Parent.DataAtom == atom.Thead {
			scope = "col"
		}
		for _, th := range all(tr, atom.Th) {
			if attribute(th, "scope") != scope {
				t.Errorf("%s has a heading %q with the scope %q, want %s", id, text(th), attribute(th, "scope"), scope)
			}
		}
	}
	for _, region := range all(article, atom.Div) {
		if attribute(region, "class") == "scroll" && (attribute(region, "tabindex") != "0" || byID(article, attribute(region, "aria-labelledby")) == nil) {
			t.Errorf("%s cannot be scrolled with a keyboard, or has no name", id)
		}
	}
}

// checkAlone: nothing runs, nothing is fetched, and every link leads
// somewhere within the page.
func checkAlone(t *testing.T, pack *evidence.Pack) {
	t.Helper()
	var out bytes.Buffer
	if err := pack.WriteHTML(&out); err != nil {
		t.Fatal(err)
	}
	root, err := html.Parse(&out)
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]int{}
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if slices.Contains([]string{"script", "img", "link", "iframe", "object", "embed", "form", "base", "svg"}, n.Data) {
			t.Errorf("the page holds <%s>", n.Data)
		}
		if n.Data == "style" && strings.ContainsAny(text(n), "@") && (strings.Contains(text(n), "@import") || strings.Contains(text(n), "url(")) {
			t.Errorf("the style fetches something")
		}
		if n.Data == "style" && len(text(n)) < 1000 {
			t.Errorf("the style is %q", text(n))
		}
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "src" || a.Key == "style" || a.Key == "href" && !strings.HasPrefix(a.Val, "#") {
				t.Errorf("<%s %s=%q>", n.Data, a.Key, a.Val)
			}
			if a.Key == "id" {
				ids[a.Val]++
			}
		}
	}
	for id, n := range ids {
		if n > 1 {
			t.Errorf("the id %s stands %d times", id, n)
		}
	}
	for _, a := range all(root, atom.A) {
		if target := strings.TrimPrefix(attribute(a, "href"), "#"); ids[target] == 0 {
			t.Errorf("a link leads nowhere: %s", target)
		}
	}
}

func all(n *html.Node, kind atom.Atom) []*html.Node {
	var out []*html.Node
	if n == nil {
		return nil
	}
	for d := range n.Descendants() {
		if d.DataAtom == kind && d.Type == html.ElementNode {
			out = append(out, d)
		}
	}
	return out
}

func first(n *html.Node, kind atom.Atom) *html.Node {
	if found := all(n, kind); len(found) > 0 {
		return found[0]
	}
	return nil
}

func byID(n *html.Node, id string) *html.Node {
	for d := range n.Descendants() {
		if d.Type == html.ElementNode && attribute(d, "id") == id {
			return d
		}
	}
	return nil
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func text(n *html.Node) string {
	var b strings.Builder
	if n == nil {
		return ""
	}
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return b.String()
}
