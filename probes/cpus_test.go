package probes_test

import (
	"io"
	"os"
	"testing"

	"github.com/go-quicktest/qt"
	"golang.org/x/sys/unix"

	"github.com/pmtrace/pmtrace/probes"
)

// needMachine skips a test that takes the breakpoints of all CPUs: other tests on the
// machine, and other people's tracers, would find none.
func needMachine(t *testing.T) {
	t.Helper()
	needRoot(t)
	if os.Getenv("PMTRACE_TEST_MACHINE") == "" {
		t.Skip("takes the hardware breakpoints of all CPUs: set PMTRACE_TEST_MACHINE=1 where nobody else wants any")
	}
}

// Watched on all CPUs, an engine's thread is told from one of another process that runs
// the same functions at the same addresses.
func TestAllCPUs(t *testing.T) {
	needMachine(t)
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			same := []string{"env", "PYTHONHASHSEED=0", "setarch", "-R"}
			load := []string{"--rate", "200", "--blocks", "60", "--requests"}
			other, s := startShape(t, same, version, append(load, "10000")...), startShape(t, same, version, append(load, "60")...)
			_, err := io.WriteString(other.stdin, "go\n")
			qt.Assert(t, qt.IsNil(err))
			got, losses, unavailable := trace(t, s, probes.Options{AllCPUs: true})
			qt.Assert(t, qt.HasLen(unavailable, 0))
			qt.Assert(t, qt.Equals(lost(losses), 0), qt.Commentf("%v", losses))
			check(t, got, s.want())
			foreign := uint64(0)
			for _, l := range losses {
				if l.Reason == "foreign_hit" {
					foreign += l.Count
				}
			}
			qt.Assert(t, qt.IsTrue(foreign > 100), qt.Commentf("%v", losses))
		})
	}
}

// Where a thread of the machine holds breakpoints, what the CPUs have no room for is
// watched on the engine's thread.
func TestAllCPUsTaken(t *testing.T) {
	needMachine(t)
	s := startShape(t, nil, "3.13", "--blocks", "60")
	holdSlots(t, unix.Getpid(), 2)
	got, losses, unavailable := trace(t, s, probes.Options{AllCPUs: true})
	qt.Assert(t, qt.HasLen(unavailable, 0))
	qt.Assert(t, qt.Equals(lost(losses), 0), qt.Commentf("%v", losses))
	check(t, got, s.want())
}
