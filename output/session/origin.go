package session

import (
	"errors"
	"fmt"
	"time"
)

// Origin is the session's zero on two clocks.
type Origin struct {
	MonoNS int64 // CLOCK_MONOTONIC
	WallNS int64 // UNIX time
}

var errNoOrigin = errors.New("it does not say when the session began")

// ReadOrigin reads it from metadata.json.
func ReadOrigin(session *Dir) (Origin, error) {
	var m struct {
		StartTime   *time.Time `json:"start_time"`
		StartMonoNS *int64     `json:"start_mono_ns"`
	}
	if err := ReadMetadata(session, &m); err != nil {
		return Origin{}, err
	}
	if m.StartTime == nil || m.StartMonoNS == nil {
		return Origin{}, fmt.Errorf("%s: %w", FileMetadata, errNoOrigin)
	}
	return Origin{*m.StartMonoNS, m.StartTime.UnixNano()}, nil
}
