package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

// docPage is a page that users read: the README or one of docs/.
type docPage struct {
	path  string // from this directory
	lines []string
}

// docBlock is a fenced block of a page.
type docBlock struct {
	page *docPage
	line int    // of the opening fence, from 0
	lang string // sql, python, sh: run; console: a transcript; text behind one that is run: what it prints
	// in is the recorded session in whose directory it runs, by the last comment
	// <!-- in: NAME --> before it; ".": the directory above them all.
	in   string
	body []string
}

func docPages(t testing.TB) []*docPage {
	paths, err := filepath.Glob("../../docs/*.md")
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsTrue(len(paths) > 0))
	var pages []*docPage
	for _, path := range append(paths, "../../README.md") {
		b, err := os.ReadFile(path)
		qt.Assert(t, qt.IsNil(err))
		pages = append(pages, &docPage{path, strings.Split(string(b), "\n")})
	}
	return pages
}

// docPageOf is one page.
func docPageOf(t testing.TB, name string) *docPage {
	pages := docPages(t)
	i := slices.IndexFunc(pages, func(p *docPage) bool { return filepath.Base(p.path) == name && name != "README.md" })
	qt.Assert(t, qt.IsTrue(i >= 0), qt.Commentf("%s", name))
	return pages[i]
}

func (p *docPage) text() string { return strings.Join(p.lines, "\n") }

var inComment = regexp.MustCompile(`^<!-- in: (\S+) -->$`)

func (p *docPage) blocks() (list []*docBlock) {
	in := ""
	var open *docBlock
	for i, line := range p.lines {
		fence, isFence := strings.CutPrefix(strings.TrimLeft(line, " "), "```")
		switch {
		case open != nil && isFence:
			list, open = append(list, open), nil
		case open != nil:
			open.body = append(open.body, line)
		case isFence:
			open = &docBlock{page: p, line: i, lang: fence, in: in}
		default:
			if m := inComment.FindStringSubmatch(line); m != nil {
				in = m[1]
			}
		}
	}
	return list
}

// prose is the page without its fenced blocks.
func (p *docPage) prose() string {
	lines := slices.Clone(p.lines)
	for _, b := range p.blocks() {
		for i := b.line; i <= b.line+len(b.body)+1; i++ {
			lines[i] = ""
		}
	}
	return strings.Join(lines, "\n")
}

var inlineCode = regexp.MustCompile("`([^`\n]+(?:\n[^`\n]+)?)`")

// code are the words in backticks.
func (p *docPage) code() (list []string) {
	for _, m := range inlineCode.FindAllStringSubmatch(p.prose(), -1) {
		list = append(list, strings.ReplaceAll(m[1], "\n", " "))
	}
	return list
}

// runs reports whether a block is an example that is run.
func (b *docBlock) runs() bool { return slices.Contains([]string{"sql", "python", "sh"}, b.lang) }

func (b *docBlock) text() string { return strings.Join(b.body, "\n") + "\n" }

// answer is what a page says that a block prints: the text block next to it.
func (b *docBlock) answer() *docBlock {
	blocks := b.page.blocks()
	i := slices.IndexFunc(blocks, func(c *docBlock) bool { return c.line == b.line })
	if i+1 == len(blocks) || blocks[i+1].lang != "text" {
		return nil
	}
	for _, line := range b.page.lines[b.line+len(b.body)+2 : blocks[i+1].line] {
		if line != "" {
			return nil
		}
	}
	return blocks[i+1]
}
