package cpython

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Thread is one PyThreadState.
type Thread struct {
	Addr uint64
	// NativeID is the thread id as the interpreter knows it, that is in its own
	// PID namespace. HostTIDs translates it. 0: not known (3.10, a thread that ends).
	NativeID int
	// Ident is threading.get_ident(), the pthread_t.
	Ident uint64

	r *Runtime
}

// maxInterpreters is far more subinterpreters than anyone runs.
const maxInterpreters = 256

// Interpreters gives the interpreter states, newest first; nearly always one.
func (r *Runtime) Interpreters() ([]uint64, error) {
	head, err := r.u64("runtime", r.img.RuntimeAddr+uint64(r.off.Runtime.InterpretersHead))
	if err != nil {
		return nil, err
	}
	return r.chain("interpreters", head, r.off.Interp.Next, maxInterpreters)
}

// MainInterpreter is the one with id 0.
func (r *Runtime) MainInterpreter() (uint64, error) {
	interps, err := r.Interpreters()
	if err != nil {
		return 0, err
	}
	for _, interp := range interps {
		id, err := r.u64("interpreter", interp+uint64(r.off.Interp.ID))
		if err == nil && id == 0 {
			return interp, nil
		}
	}
	return 0, r.fail(NotFound, "main interpreter", r.img.RuntimeAddr, "")
}

// Threads gives the thread states of an interpreter, newest first. Those that
// went away while it walked may cut the list short, with an error.
func (r *Runtime) Threads(interp uint64) ([]Thread, error) {
	head, err := r.u64("interpreter", interp+uint64(r.off.Interp.ThreadsHead))
	if err != nil {
		return nil, err
	}
	addrs, err := r.chain("threads", head, r.off.Thread.Next, r.limits.Threads)
	threads := make([]Thread, 0, len(addrs))
	for _, addr := range addrs {
		t, err := r.thread(addr)
		if err != nil {
			return threads, err
		}
		threads = append(threads, t)
	}
	if r.off.Thread.NativeID == Absent {
		r.findNativeIDs(threads)
	}
	return threads, err
}

func (r *Runtime) thread(addr uint64) (Thread, error) {
	o := &r.off.Thread
	if o.NativeID == Absent {
		ident, err := r.u64("thread", addr+uint64(o.ThreadID))
		return Thread{Addr: addr, Ident: ident, r: r}, err
	}
	v, err := r.fields("thread", addr, o.NativeID, o.ThreadID)
	if err != nil {
		return Thread{}, err
	}
	return Thread{Addr: addr, NativeID: int(v.u64(o.NativeID)), Ident: v.u64(o.ThreadID), r: r}, nil
}

// chain follows a linked list from head by the pointer at next. On an error it
// gives what it had.
func (r *Runtime) chain(op string, head uint64, next, limit int) ([]uint64, error) {
	var out []uint64
	seen := make(map[uint64]bool)
	for at := head; at != 0; {
		if seen[at] {
			return out, r.fail(Cycle, op, at, "")
		}
		if len(out) == limit {
			return out, r.fail(Limit, op, at, "")
		}
		seen[at] = true
		out = append(out, at)
		n, err := r.u64(op, at+uint64(next))
		if err != nil {
			return out, err
		}
		at = n
	}
	return out, nil
}

// HostTIDs maps each thread id of pid as seen in its innermost PID namespace
// to the id here. Without namespaces both are the same.
func HostTIDs(pid int) (map[int]int, error) {
	dir := fmt.Sprintf("/proc/%d/task", pid)
	tasks, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	out := make(map[int]int, len(tasks))
	for _, t := range tasks {
		host, err := strconv.Atoi(t.Name())
		if err != nil {
			continue
		}
		status, err := os.ReadFile(dir + "/" + t.Name() + "/status")
		if err != nil {
			continue // the thread has ended
		}
		inner, ok := innermostTID(string(status))
		if !ok {
			inner = host // kernels without NSpid
		}
		out[inner] = host
	}
	return out, nil
}

// innermostTID reads the last number of the NSpid line, "NSpid:\t4711\t1".
func innermostTID(status string) (int, bool) {
	for line := range strings.Lines(status) {
		if ids, ok := strings.CutPrefix(line, "NSpid:"); ok {
			fields := strings.Fields(ids)
			if len(fields) == 0 {
				return 0, false
			}
			id, err := strconv.Atoi(fields[len(fields)-1])
			return id, err == nil
		}
	}
	return 0, false
}
