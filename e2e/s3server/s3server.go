// Package s3server starts a real server that speaks S3, for tests: versitygw on a
// directory.
package s3server

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-quicktest/qt"
)

// Server is one that runs. Bucket is there, and empty.
type Server struct {
	Address string // HOST:PORT
	Bucket  string
	Key     string
	Secret  string

	t      testing.TB
	binary string
	place  string
	cmd    *exec.Cmd
}

// Start starts a server that ends with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{Bucket: "traces", Key: "AKFLEETTEST", Secret: "s3cr3t-of-the-test", t: t, binary: binary(t), place: t.TempDir()}
	qt.Assert(t, qt.IsNil(os.MkdirAll(filepath.Join(s.place, "data", s.Bucket), 0o755)))
	qt.Assert(t, qt.IsNil(os.MkdirAll(filepath.Join(s.place, "meta"), 0o755)))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	qt.Assert(t, qt.IsNil(err))
	s.Address = l.Addr().String()
	qt.Assert(t, qt.IsNil(l.Close()))
	s.Run()
	t.Cleanup(s.Stop)
	return s
}

// Run starts it, again after Stop, with what it had.
func (s *Server) Run() {
	s.t.Helper()
	var log bytes.Buffer
	s.cmd = exec.Command(s.binary, "--port", s.Address, "--access", s.Key, "--secret", s.Secret,
		"posix", "--sidecar", filepath.Join(s.place, "meta"), filepath.Join(s.place, "data"))
	s.cmd.Stdout, s.cmd.Stderr = &log, &log
	qt.Assert(s.t, qt.IsNil(s.cmd.Start()))
	for range 200 {
		if c, err := net.Dial("tcp", s.Address); err == nil {
			c.Close()
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.Stop()
	s.t.Fatalf("versitygw did not come up: %s", log.String())
}

// Stop kills it.
func (s *Server) Stop() {
	if s.cmd.ProcessState == nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	}
}

// Env has what AWS's tools, and we, read.
func (s *Server) Env() map[string]string {
	return map[string]string{
		"AWS_ACCESS_KEY_ID": s.Key, "AWS_SECRET_ACCESS_KEY": s.Secret,
		"AWS_ENDPOINT_URL": "http://" + s.Address, "AWS_REGION": "us-east-1",
	}
}

// Get is Env as a getenv.
func (s *Server) Get(name string) string { return s.Env()[name] }

// Path is where a file of the bucket lies on the disk.
func (s *Server) Path(name string) string { return filepath.Join(s.place, "data", s.Bucket, name) }

func binary(t testing.TB) string {
	cache := os.Getenv("PMTRACE_CACHE")
	if cache == "" {
		home, err := os.UserHomeDir()
		qt.Assert(t, qt.IsNil(err))
		cache = filepath.Join(home, ".cache", "pmtrace")
	}
	name := filepath.Join(cache, "bin", "versitygw")
	if _, err := os.Stat(name); err != nil {
		if os.Getenv("PMTRACE_TEST_SKIP_S3") != "" {
			t.Skip("no " + name)
		}
		t.Fatalf("no %s: run e2e/setup/s3.sh, or set PMTRACE_TEST_SKIP_S3", name)
	}
	return name
}
