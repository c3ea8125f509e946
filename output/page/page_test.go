package page

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"html"
	"io/fs"
	"regexp"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/output/findings"
)

// TestEscaped: nothing that a session says becomes a part of the page's own.
func TestEscaped(t *testing.T) {
	dir, facts := makeServer(t, 300)
	p := build(t, dir, facts)
	p.findings = []findings.Finding{{Name: hostile, Title: hostile, Evidence: []string{hostile}, Change: hostile}}
	var b bytes.Buffer
	qt.Assert(t, qt.IsNil(p.Write(&b)))
	page := b.String()
	qt.Check(t, qt.Equals(strings.Count(page, "<script"), 2))
	qt.Check(t, qt.Equals(strings.Count(page, "</script"), 2))
	qt.Check(t, qt.Equals(strings.Count(page, "<style"), 1))
	qt.Check(t, qt.Equals(strings.Count(page, "<img"), 0))
	// The text is there all the same: once as JSON's, and as HTML's.
	_, rest, ok := strings.Cut(page, `<script type="application/json" id="data">`)
	qt.Assert(t, qt.IsTrue(ok))
	data, _, _ := strings.Cut(rest, "</script>")
	qt.Check(t, qt.IsTrue(strings.Contains(data, `\u003c/script\u003e\u003cscript\u003edocument.title`)))
	qt.Check(t, qt.IsFalse(strings.ContainsAny(data, "<>&\u2028")))
	qt.Check(t, qt.IsTrue(strings.Contains(page, "&lt;/script&gt;&lt;script&gt;document.title=&quot;owned&quot;")))
}

// TestSelfContained: the page loads nothing, its policy lets nothing but its own script
// and style run, and two pages of one session are the same.
func TestSelfContained(t *testing.T) {
	dir, facts := makeServer(t, 300)
	var b, again bytes.Buffer
	qt.Assert(t, qt.IsNil(build(t, dir, facts).Write(&b)))
	qt.Assert(t, qt.IsNil(build(t, dir, facts).Write(&again)))
	qt.Check(t, qt.IsTrue(bytes.Equal(b.Bytes(), again.Bytes())))
	page := b.String()
	for _, m := range regexp.MustCompile(`(?:src|href)="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		qt.Check(t, qt.IsTrue(strings.HasPrefix(m[1], "#") || m[1] == "data:,"), qt.Commentf("%s", m[1]))
	}
	qt.Check(t, qt.IsFalse(regexp.MustCompile(`@import|url\(|//cdn`).MatchString(page)))
	policy := html.UnescapeString(regexp.MustCompile(`Content-Security-Policy" content="([^"]*)"`).FindStringSubmatch(page)[1])
	qt.Check(t, qt.IsTrue(strings.HasPrefix(policy, "default-src 'none'; script-src 'sha256-")))
	qt.Check(t, qt.IsFalse(strings.Contains(policy, "unsafe")))
	for _, of := range []string{`(?s)<script>(.*?)</script>`, `(?s)<style>(.*?)</style>`} {
		m := regexp.MustCompile(of).FindStringSubmatch(page)
		qt.Check(t, qt.StringContains(policy, hash(m[1])))
	}
}

// TestLibrary: the charts' library is as fetch.sh got it.
func TestLibrary(t *testing.T) {
	dir, err := fs.Sub(assets, "assets/uplot")
	qt.Assert(t, qt.IsNil(err))
	list, err := fs.ReadFile(dir, "SHA256SUMS")
	qt.Assert(t, qt.IsNil(err))
	n := 0
	for line := range strings.Lines(string(list)) {
		f := strings.Fields(line)
		b, err := fs.ReadFile(dir, f[1])
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(fmt.Sprintf("%x", sha256.Sum256(b)), f[0]))
		n++
	}
	qt.Check(t, qt.Equals(n, 3))
}

// TestEvidence: every rule that a moment shows is one, and every moment is looked for.
func TestEvidence(t *testing.T) {
	rules, moments := map[string]bool{}, map[string]bool{}
	for _, r := range findings.Rules() {
		rules[r] = true
	}
	for _, w := range worst {
		moments[w.key] = true
	}
	for rule, moment := range evidence {
		qt.Check(t, qt.IsTrue(rules[rule]), qt.Commentf("%s", rule))
		qt.Check(t, qt.IsTrue(moments[moment]), qt.Commentf("%s", moment))
	}
	for of, moment := range instead {
		qt.Check(t, qt.IsTrue(moments[of] && moments[moment]), qt.Commentf("%s", of))
	}
}

// TestBounded: the page of a longer session is no larger than it may be.
func TestBounded(t *testing.T) {
	dir, facts := makeServer(t, 20_000)
	p := build(t, dir, facts)
	n := &counted{}
	qt.Assert(t, qt.IsNil(p.Write(n)))
	qt.Check(t, qt.IsTrue(n.bytes < 5<<20), qt.Commentf("%d", n.bytes))
	steps := 0
	for _, w := range p.data.Windows {
		steps += len(w.Start)
	}
	qt.Check(t, qt.IsTrue(steps > 500 && steps <= mostRaw), qt.Commentf("%d", steps))
	for _, e := range p.data.Engines {
		qt.Check(t, qt.IsTrue(e.Timeline.Buckets <= mostBuckets/2 && e.Timeline.Buckets > mostBuckets/8))
	}
}

// counted counts what is written.
type counted struct{ bytes int }

func (c *counted) Write(b []byte) (int, error) {
	c.bytes += len(b)
	return len(b), nil
}
