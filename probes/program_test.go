package probes_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

// program is a process to trace: it says its id first, and then does what lines on
// its stdin tell it.
type program struct {
	t     testing.TB
	cmd   *exec.Cmd
	pid   int
	stdin io.WriteCloser
	out   *bufio.Reader
}

func startProgram(t testing.TB, argv []string) *program {
	t.Helper()
	p := &program{t: t, cmd: exec.Command(argv[0], argv[1:]...)}
	p.cmd.Stderr = os.Stderr
	var err error
	p.stdin, err = p.cmd.StdinPipe()
	qt.Assert(t, qt.IsNil(err))
	stdout, err := p.cmd.StdoutPipe()
	qt.Assert(t, qt.IsNil(err))
	p.out = bufio.NewReader(stdout)
	qt.Assert(t, qt.IsNil(p.cmd.Start()))
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		p.cmd.Wait()
	})
	p.pid, err = strconv.Atoi(p.line())
	qt.Assert(t, qt.IsNil(err))
	return p
}

func (p *program) line() string {
	p.t.Helper()
	line, err := p.out.ReadString('\n')
	qt.Assert(p.t, qt.IsNil(err))
	return strings.TrimSpace(line)
}
