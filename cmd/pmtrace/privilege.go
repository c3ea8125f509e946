package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"github.com/pmtrace/pmtrace/output/session"
)

// A trace gives up, before it looks at the server, each capability that it does not need:
// of a root's forty a handful is left. They cannot be had back, nor by a program that is
// started (no_new_privs).

// traceCapabilities are needed until the trace ends, since engines and workers come up late.
func traceCapabilities() []cap.Value {
	return []cap.Value{
		cap.BPF,             // load programs, create maps
		cap.PERFMON,         // breakpoints and uprobes on threads of other users, and BPF on them
		cap.SYS_PTRACE,      // read other users' memory and /proc/PID/{maps,root,exe,environ}
		cap.DAC_READ_SEARCH, // open an interpreter's and a library's file where only its owner may
	}
}

// keeps are what this trace needs besides: only root has them to keep.
func (a *app) keeps(o *traceOptions, mode string) []cap.Value {
	keep := traceCapabilities()
	if a.world.euid != 0 {
		return keep
	}
	owner := session.Invoker(a.env.get)
	if owner.UID != 0 || foreign(o.place) || foreign(o.ship.to) || o.injected.dir != "" {
		// Files in another user's directory, which that user gets.
		keep = append(keep, cap.DAC_OVERRIDE, cap.CHOWN, cap.FOWNER)
	}
	if mode == modeRecord {
		keep = append(keep, cap.KILL) // signals for the command, which may become another user
	}
	if o.starts && owner.UID != 0 {
		keep = append(keep, cap.SETUID, cap.SETGID) // profile's load, as the caller
	}
	if o.gpuSampling != "" && o.gpuSampling != samplingOff {
		// The driver gives counters to administrators alone; the sampler becomes the server's user.
		keep = append(keep, cap.SYS_ADMIN, cap.SETUID, cap.SETGID)
	}
	return keep
}

// foreign says whether a path, or what there is of it, belongs to another user than root.
func foreign(path string) bool {
	if path == "" || strings.Contains(path, "://") {
		return false
	}
	path, err := filepath.Abs(path)
	for err == nil {
		info, serr := os.Stat(path)
		if serr == nil {
			stat, ok := info.Sys().(*syscall.Stat_t)
			return ok && stat.Uid != 0
		}
		if !errors.Is(serr, fs.ErrNotExist) || path == "/" {
			return false
		}
		path = filepath.Dir(path)
	}
	return false
}

// shed gives up what a trace does not need. What cannot be given up is said, and tracing goes on.
func (a *app) shed(o *traceOptions, mode string) {
	if err := a.world.shed(a.keeps(o, mode), !o.starts); err != nil {
		fmt.Fprintf(a.stderr, "pmtrace: goes on with more privileges than it needs: %v\n", err)
	}
}

// shedCapabilities leaves this process, all of its threads, those of keep that it has;
// noNew: and whatever it starts cannot get others.
func shedCapabilities(keep []cap.Value, noNew bool) error {
	have, left := cap.GetProc(), cap.NewSet()
	if sysAdmin, err := have.GetFlag(cap.Permitted, cap.SYS_ADMIN); err == nil && sysAdmin && !permitted(have, cap.BPF, cap.PERFMON) {
		keep = append(keep, cap.SYS_ADMIN) // it stands for them
	}
	for _, v := range keep {
		if !permitted(have, v) {
			continue
		}
		for _, flag := range []cap.Flag{cap.Permitted, cap.Effective} {
			if err := left.SetFlag(flag, true, v); err != nil {
				return fmt.Errorf("capability %s: %w", v, err)
			}
		}
	}
	if err := cap.ResetAmbient(); err != nil {
		return fmt.Errorf("ambient capabilities: %w", err)
	}
	if noNew {
		if _, err := cap.Prctlw(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("no_new_privs: %w", err)
		}
	}
	if err := left.SetProc(); err != nil {
		return fmt.Errorf("capabilities: %w", err)
	}
	return nil
}

func permitted(s *cap.Set, values ...cap.Value) bool {
	for _, v := range values {
		if ok, err := s.GetFlag(cap.Permitted, v); err != nil || !ok {
			return false
		}
	}
	return true
}
