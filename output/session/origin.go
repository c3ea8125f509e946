package session

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
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
	b, err := fs.ReadFile(session.FS(), FileMetadata)
	if err != nil {
		return Origin{}, fmt.Errorf("%s: %w", FileMetadata, cause(err))
	}
	var m struct {
		StartTime   *time.Time `json:"start_time"`
		StartMonoNS *int64     `json:"start_mono_ns"`
	}
	err = json.Unmarshal(b, &m)
	if err == nil && (m.StartTime == nil || m.StartMonoNS == nil) {
		err = errNoOrigin
	}
	if err != nil {
		return Origin{}, fmt.Errorf("%s: %w", FileMetadata, err)
	}
	return Origin{*m.StartMonoNS, m.StartTime.UnixNano()}, nil
}
