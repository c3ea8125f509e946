package sampler

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// shedVariable in the environment asks the helper to give up what its file's
// capabilities gave it.
const shedVariable = "PMTRACE_SAMPLER_SHED"

// shedCapabilities starts the program again without the capabilities of its file.
// Nothing less takes them from all threads that the runtime has begun.
func shedCapabilities() error {
	if os.Getenv(shedVariable) == "" {
		return nil
	}
	env := slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, shedVariable+"=") })
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	return fmt.Errorf("start again: %w", syscall.Exec("/proc/self/exe", os.Args, env))
}

// become gives up being root: a library that others may write is not loaded with
// more rights than they have.
func become(uid, gid int) error {
	if uid == 0 || os.Geteuid() != 0 {
		return nil
	}
	if err := syscall.Setgroups([]int{}); err != nil {
		return fmt.Errorf("setgroups: %w", err)
	}
	if err := syscall.Setresgid(gid, gid, gid); err != nil {
		return fmt.Errorf("setresgid: %w", err)
	}
	if err := syscall.Setresuid(uid, uid, uid); err != nil {
		return fmt.Errorf("setresuid: %w", err)
	}
	// Else /proc/self, and with it the library's descriptor, would be root's.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("dumpable: %w", err)
	}
	return nil
}
