package cpython

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/go-quicktest/qt"
)

// TestGeneratedFromHeaders makes the tables again and compares.
func TestGeneratedFromHeaders(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles C")
	}
	if _, err := exec.LookPath("cc"); err != nil {
		t.Skip("no C compiler")
	}
	for _, py := range interpreters() {
		if _, err := os.Stat(py.path); py.needed && err != nil && os.Getenv(skipEnv) != "" {
			t.Skipf("no %s, and %s is set", py.path, skipEnv)
		}
	}
	dir := t.TempDir()
	out, err := exec.Command(filepath.Join("gen", "generate.sh"), dir).CombinedOutput()
	qt.Assert(t, qt.IsNil(err), qt.Commentf("%s", out))
	for _, name := range []string{"layout_gen.go", "opcodes_gen.go"} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		qt.Assert(t, qt.IsNil(err))
		want, err := os.ReadFile(name)
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(string(got), string(want)), qt.Commentf("run go generate"))
	}
}

// TestLayoutHasAll: every version has every field, or says that it is absent.
func TestLayoutHasAll(t *testing.T) {
	for minor := OldestMinor; minor <= NewestMinor; minor++ {
		o, ok := LayoutOf(minor)
		qt.Assert(t, qt.IsTrue(ok))
		qt.Check(t, qt.Equals(o.Minor, minor))
		qt.Check(t, qt.Equals(o.Thread.CFrame == Absent, minor >= 13 || minor == 10))
		qt.Check(t, qt.Equals(o.Thread.CurrentFrame == Absent, minor == 11 || minor == 12))
		qt.Check(t, qt.Equals(o.Code.Monitoring == Absent, minor < 12))
		qt.Check(t, qt.Equals(o.Frame.RefMask != 0, minor >= 14))
		form := InstanceForm(min(minor-11, 2))
		if minor == 10 {
			form = FormDict
		}
		qt.Check(t, qt.Equals(o.Instance.Form, form))
		qt.Check(t, qt.Equals(len(debugFields(&o)) > 0, minor >= 13))
		qt.Check(t, qt.IsNotNil(opcodesOf(minor)))
	}
	_, ok := LayoutOf(9)
	qt.Check(t, qt.IsFalse(ok))
	qt.Check(t, qt.IsNil(opcodesOf(15)))
}

func TestNearestLayout(t *testing.T) {
	for v, want := range map[Version]int{{2, 7, 18}: 10, {3, 8, 0}: 10, {3, 12, 1}: 12, {3, 15, 0}: 14} {
		qt.Check(t, qt.Equals(v.nearest(), want))
	}
}
