package journal

import (
	"sync"
	"time"
)

// syncer forces files to disk in a goroutine of its own, because a sync may
// take seconds on a busy disk and events must be drained meanwhile. The
// goroutine ends with stop.
type syncer struct {
	every time.Duration
	last  time.Time
	jobs  chan syncJob
	done  sync.WaitGroup

	mu  sync.Mutex
	err error
}

type syncJob struct {
	file  file
	close bool
}

func startSyncer(every time.Duration) *syncer {
	s := &syncer{every: every, last: time.Now(), jobs: make(chan syncJob, 1)}
	s.done.Go(s.run)
	return s
}

func (s *syncer) run() {
	for job := range s.jobs {
		err := job.file.Sync()
		if job.close {
			if cerr := job.file.Close(); err == nil {
				err = cerr
			}
		}
		if err != nil {
			s.mu.Lock()
			s.err = err
			s.mu.Unlock()
		}
	}
}

// wrote says that a frame was written to f, and returns the error of an earlier
// sync.
func (s *syncer) wrote(f file) error {
	if s.every > 0 && time.Since(s.last) >= s.every {
		select {
		case s.jobs <- syncJob{file: f}:
			s.last = time.Now()
		default: // the last one is still under way
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// retire syncs and closes a file that is written no more.
func (s *syncer) retire(f file) { s.jobs <- syncJob{file: f, close: true} }

// stop waits for all that is under way.
func (s *syncer) stop() error {
	close(s.jobs)
	s.done.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
