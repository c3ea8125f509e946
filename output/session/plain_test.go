package session

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-quicktest/qt"
	"golang.org/x/sys/unix"
)

// What others put into a session's directory is not followed out of it, and opening it does
// not wait for ever.
func TestHostileSession(t *testing.T) {
	path := t.TempDir()
	secret := filepath.Join(t.TempDir(), "secret")
	qt.Assert(t, qt.IsNil(os.WriteFile(secret, []byte("secret"), 0o600)))
	qt.Assert(t, qt.IsNil(unix.Mkfifo(filepath.Join(path, "fifo"), 0o600)))
	qt.Assert(t, qt.IsNil(os.Symlink(secret, filepath.Join(path, "link"))))
	qt.Assert(t, qt.IsNil(os.Symlink(filepath.Dir(secret), filepath.Join(path, "parquet"))))
	qt.Assert(t, qt.IsNil(os.WriteFile(filepath.Join(path, "plain"), []byte("x"), 0o600)))
	d, err := Open(path)
	qt.Assert(t, qt.IsNil(err))
	defer d.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, name := range []string{"fifo", "link", "parquet/secret", "../x", "/etc/passwd"} {
			_, err := fs.ReadFile(d.FS(), name)
			qt.Check(t, qt.IsNotNil(err), qt.Commentf(name))
		}
		b, err := fs.ReadFile(d.FS(), "plain")
		qt.Check(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(string(b), "x"))
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("opening a FIFO waits")
	}
	qt.Check(t, qt.IsNil(RemoveTables(d))) // the link, not what it leads to
	_, err = d.Create("link")
	qt.Check(t, qt.IsNotNil(err))
	_, err = os.Stat(secret)
	qt.Check(t, qt.IsNil(err))
}
