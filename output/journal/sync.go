package journal

import (
	"errors"
	"math"
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

	mu     sync.Mutex
	err    error
	synced uint64 // frames before this one are on the disk
}

type syncJob struct {
	files []file
	close bool
	upTo  uint64 // frames before this one are in these files, or in ones of before
}

func startSyncer(every time.Duration) *syncer {
	s := &syncer{every: every, last: time.Now(), jobs: make(chan syncJob, 1)}
	s.done.Go(s.run)
	return s
}

func (s *syncer) run() {
	for job := range s.jobs {
		err := job.do()
		s.mu.Lock()
		if err != nil {
			s.err = err
		} else {
			s.synced = job.upTo
		}
		s.mu.Unlock()
	}
}

func (j syncJob) do() (err error) {
	for _, f := range j.files {
		err = errors.Join(err, f.Sync())
		if j.close {
			err = errors.Join(err, f.Close())
		}
	}
	return err
}

// wrote says that a frame was written to one of the files, and which frame comes next, and
// returns the error of an earlier sync.
func (s *syncer) wrote(next uint64, files ...file) error {
	if s.every > 0 && time.Since(s.last) >= s.every {
		select {
		case s.jobs <- syncJob{files: files, upTo: next}:
			s.last = time.Now()
		default: // the last one is still under way
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// retire syncs and closes a file that is written no more.
func (s *syncer) retire(next uint64, f file) {
	s.jobs <- syncJob{files: []file{f}, close: true, upTo: next}
}

// onDisk says before which frame all are on the disk, or need not be.
func (s *syncer) onDisk() uint64 {
	if s.every < 0 {
		return math.MaxUint64
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.synced
}

// stop waits for all that is under way.
func (s *syncer) stop() error {
	close(s.jobs)
	s.done.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
