package target

import (
	"context"
	"os/exec"
	"testing"
	"time"

	"github.com/go-quicktest/qt"
)

func started(t *testing.T) (*exec.Cmd, Process) {
	cmd := exec.Command("sleep", "60")
	qt.Assert(t, qt.IsNil(cmd.Start()))
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	s, err := Host().Tree(cmd.Process.Pid)
	qt.Assert(t, qt.IsNil(err))
	return cmd, s.Processes[0]
}

func TestWait(t *testing.T) {
	cmd, p := started(t)
	h, err := Host().Open(p)
	qt.Assert(t, qt.IsNil(err))
	defer h.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	qt.Check(t, qt.ErrorIs(h.Wait(ctx), context.DeadlineExceeded))
	qt.Check(t, qt.IsFalse(h.Ended()))
	ctx, cancel = context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	qt.Check(t, qt.ErrorIs(h.Wait(ctx), context.DeadlineExceeded)) // Ended has not spoilt it
	cmd.Process.Kill()
	qt.Check(t, qt.IsNil(h.Wait(t.Context())))
	qt.Check(t, qt.IsTrue(h.Ended()))
	_, err = Host().Tree(p.PID) // a zombie
	qt.Check(t, qt.ErrorIs(err, ErrGone))
}

func TestOpenUsedAgain(t *testing.T) {
	_, p := started(t)
	p.Start--
	_, err := Host().Open(p)
	qt.Check(t, qt.ErrorIs(err, ErrGone))
	_, err = Host().Open(Process{PID: 1 << 22, Start: 1})
	qt.Check(t, qt.ErrorIs(err, ErrGone))
}

// A process's start on the monotonic clock is close to when it was started.
func TestStart(t *testing.T) {
	before := clocks().monoNS
	_, p := started(t)
	after := clocks().monoNS
	const tick = int64(time.Second / ticksPerSecond)
	if p.StartNS < before-2*tick || p.StartNS > after+2*tick {
		t.Errorf("%d is not in %d..%d", p.StartNS, before, after)
	}
}

func TestFollow(t *testing.T) {
	cmd := exec.Command("sh", "-c", "sleep 0.2; sleep 5 & wait")
	qt.Assert(t, qt.IsNil(cmd.Start()))
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	f := Host().Follow(cmd.Process.Pid)
	seen := map[string]bool{}
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until) && len(seen) < 2; {
		s, err := f.Look()
		qt.Assert(t, qt.IsNil(err))
		for _, p := range s.Processes {
			if len(p.Command) == 2 {
				seen[p.Command[1]] = true
			}
		}
		time.Sleep(f.Pause(20 * time.Millisecond))
	}
	qt.Check(t, qt.DeepEquals(seen, map[string]bool{"0.2": true, "5": true}))
}
