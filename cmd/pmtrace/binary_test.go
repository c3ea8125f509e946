package main

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

// Templates call methods by name. Where the linker finds that done, it keeps every exported
// method of every type, and the binary, much of which is in memory, is a sixth larger. cobra's
// are only reached by templates for its help, of which we set none.
func TestNoTemplates(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-tags", "grpcnotrace", "-f", `{{.ImportPath}} {{join .Imports " "}}`, ".").Output()
	qt.Assert(t, qt.IsNil(err))
	var by []string
	for line := range strings.Lines(string(out)) {
		importer, imports, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.Contains(" "+imports+" ", " text/template ") || strings.Contains(" "+imports+" ", " html/template ") {
			by = append(by, importer)
		}
	}
	qt.Assert(t, qt.DeepEquals(by, []string{"github.com/spf13/cobra"}))
}
