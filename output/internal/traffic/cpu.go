package traffic

import (
	"syscall"
	"testing"
	"time"
)

// CPU returns the time that this process has had of the processors. Rates by it
// hold on a busy machine, too.
func CPU(t testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
