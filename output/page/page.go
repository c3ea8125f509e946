package page

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"io"
	"strings"
)

// The layout is made Go at compile time: html/template calls methods by name, for which the
// linker would keep every method of every type in the binary, a sixth of it.
//
//go:generate go tool qtc -file=layout.qtpl

//go:embed assets/page.css assets/dark.css assets/page.js assets/uplot/uPlot.iife.min.js assets/uplot/uPlot.min.css assets/uplot/LICENSE assets/uplot/SHA256SUMS
var assets embed.FS

// Write writes the page: one file that asks for nothing.
func (p *Page) Write(w io.Writer) error { return p.write(w, "'none'") }

// write writes the page, which may connect to what connect says.
func (p *Page) write(w io.Writer, connect string) error {
	script, err := text("uplot/uPlot.iife.min.js", "page.js")
	if err != nil {
		return err
	}
	license, err := text("uplot/LICENSE")
	if err != nil {
		return err
	}
	script = "/* uPlot: " + license + "*/\n" + script
	styles, err := text("uplot/uPlot.min.css", "page.css")
	if err != nil {
		return err
	}
	dark, err := text("dark.css")
	if err != nil {
		return err
	}
	styles += darkBySystem + dark + "}}\n" + darkByChoice + dark + "}\n"
	v, err := p.view()
	if err != nil {
		return err
	}
	data, err := json.Marshal(&p.data)
	if err != nil {
		return err
	}
	// Nothing but what is in the file runs, and what it shows cannot change that.
	policy := "default-src 'none'; script-src " + hash(script) + "; style-src " + hash(styles) + "; img-src data:; base-uri 'none'; form-action 'none'; connect-src " + connect
	_, err = io.WriteString(w, layout(v, policy, styles, script, data))
	return err
}

// Where the colours of dark.css hold.
const (
	darkBySystem = `@media (prefers-color-scheme: dark) { :root:not([data-theme="light"]) {` + "\n"
	darkByChoice = `:root[data-theme="dark"] {` + "\n"
)

// text are the contents of files, one behind the other.
func text(names ...string) (string, error) {
	var all strings.Builder
	for _, name := range names {
		b, err := assets.ReadFile("assets/" + name)
		if err != nil {
			return "", err
		}
		all.Write(b)
		all.WriteByte('\n')
	}
	return all.String(), nil
}

// hash names a script or style sheet in a content security policy.
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
