package cpython

// findPages holds a thread's frames and their code objects.
const findPages = 1024

// FindFrame looks for the innermost frame of a running thread that match
// accepts, by its code. The frames further in come and go while it walks and
// may lead it astray, so it walks up to tries times, each over a view of one
// moment. NotFound: no walk saw it. The error of the last walk that broke off
// is in it.
func (r *Runtime) FindFrame(th Thread, tries int, match func(Frame, Code) bool) (Frame, Code, error) {
	var broken error
	for range max(tries, 1) {
		snap := r.Snapshot(findPages)
		frames, err := snap.Frames(th, 0)
		if err != nil {
			broken = err
		}
		for _, f := range frames {
			c, err := snap.Code(f.Code)
			if err != nil {
				broken = err
				continue
			}
			if match(f, c) {
				return f, c, nil
			}
		}
	}
	r.failures.add(NotFound)
	return Frame{}, Code{}, &Error{Reason: NotFound, Op: "frame", Addr: th.Addr, Err: broken}
}
