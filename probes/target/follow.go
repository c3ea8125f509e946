package target

import "time"

// Follower looks at a growing tree again and again, and does so cheaply.
type Follower struct {
	proc Proc
	root int
	cost time.Duration // of the last look
}

// Follow follows the tree below a process.
func (p Proc) Follow(root int) *Follower { return &Follower{proc: p, root: root} }

// Look reads the tree as it is now; ErrGone when its root has ended.
func (f *Follower) Look() (Server, error) {
	began := time.Now()
	srv, err := f.proc.Tree(f.root)
	f.cost = time.Since(began)
	return srv, err
}

// Pause is how long to wait before the next look: at least d, and never so
// short that looking takes more than a twentieth of a core on a machine with
// very many processes.
func (f *Follower) Pause(d time.Duration) time.Duration { return max(d, 20*f.cost) }
