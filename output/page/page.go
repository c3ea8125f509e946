package page

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
	"io"
	"strings"
)

//go:embed assets/page.html assets/page.css assets/dark.css assets/page.js assets/uplot/uPlot.iife.min.js assets/uplot/uPlot.min.css assets/uplot/LICENSE assets/uplot/SHA256SUMS
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
	layout, err := template.New("page.html").ParseFS(assets, "assets/page.html")
	if err != nil {
		return err
	}
	v, err := p.view()
	if err != nil {
		return err
	}
	return layout.Execute(w, struct {
		View   *view
		Data   *data
		Policy string
		Styles template.CSS
		Script template.JS
	}{
		v, &p.data,
		// Nothing but what is in the file runs, and what it shows cannot change that.
		"default-src 'none'; script-src " + hash(script) + "; style-src " + hash(styles) + "; img-src data:; base-uri 'none'; form-action 'none'; connect-src " + connect,
		template.CSS(styles), template.JS(script),
	})
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
