package vllm

import "github.com/pmtrace/pmtrace/probes/cpython"

// FindWorker opens the interpreter of a process that has begun to import vLLM.
// It needs no engine: what a Worker tells comes up as the server starts. The
// error is a *NotEngineError. A Worker is for one goroutine at a time.
func FindWorker(pid int, opts Options) (*Worker, error) {
	fail := failureOf(pid)
	// No bytecode is watched here, so the JIT may be on.
	rt, err := openPython(pid, cpython.Options{AllowUnknown: opts.Force, AllowJIT: true})
	if err != nil {
		return nil, err
	}
	interp, err := rt.MainInterpreter()
	if err != nil {
		return nil, fail(Loading, err, "the interpreter is starting: %v", err)
	}
	if _, err := rt.Modules(interp); err != nil {
		return nil, fail(Loading, err, "the interpreter is starting: %v", err)
	}
	if _, err := rt.Module(interp, "vllm"); err != nil {
		return nil, fail(NotVLLM, err, "Python %s without vLLM", rt.Version())
	}
	return &Worker{PID: pid, Python: rt, interp: interp, offset: -1}, nil
}

// Threads gives the threads that have run Python code. One that ends meanwhile
// is left out; an error may come with the threads that were read before it.
func (w *Worker) Threads() ([]PythonThread, error) {
	threads, err := w.Python.Threads(w.interp)
	if len(threads) == 0 {
		return nil, err
	}
	hosts, herr := cpython.HostTIDs(w.PID)
	if herr != nil {
		return nil, herr
	}
	out := make([]PythonThread, 0, len(threads))
	for _, t := range threads {
		if tid, ok := hosts[t.NativeID]; ok {
			out = append(out, PythonThread{TID: tid, State: t.Addr})
		}
	}
	return out, err
}
