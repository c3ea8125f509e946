package session

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"time"

	"github.com/pmtrace/pmtrace/decode/record"
)

// ReadMetadata reads metadata.json into a struct of the keys that are wanted, so that those
// of a session by another version need not be as here. Without the file: fs.ErrNotExist.
func ReadMetadata(session *Dir, into any) error {
	data, err := fs.ReadFile(session.FS(), FileMetadata)
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", FileMetadata, cause(err))
	}
	return nil
}

// ReadFacts takes what metadata.json says of a finished session. What the journal has
// beside that is not in it: the clocks' readings, say.
func ReadFacts(session *Dir) (*Facts, error) {
	var m metadata
	if err := ReadMetadata(session, &m); err != nil {
		return nil, err
	}
	f := &Facts{
		Start: record.Start{
			SchemaVersion: m.SchemaVersion, SessionID: m.SessionID, Version: m.Versions.Pmtrace, Mode: m.Mode, Command: m.Command,
			Host: m.Host.Name, Kernel: m.Versions.Kernel, Arch: m.Host.Arch, Profilers: m.Profilers, OutputDir: m.OutputDir,
		},
		Processes: m.Processes, Engines: m.Engines, Losses: m.Losses, Unavailable: m.Unavailable, Workers: m.Workers,
		Readings: m.GraphReadings, GPUs: m.GPUs, Samplers: m.GPUSamplers, Injected: m.CUPTI, End: m.End,
		NeverScheduled: m.NeverScheduled, Unreadable: m.Unreadable, Damage: m.Damage,
	}
	if m.StartMonoNS != nil {
		f.Start.MonoNS = *m.StartMonoNS
	}
	if m.StartTime != nil {
		if t, err := time.Parse(time.RFC3339Nano, *m.StartTime); err == nil {
			f.Start.WallNS = t.UnixNano()
		}
	}
	if m.EventBoundCheck != nil {
		f.Bounds = *m.EventBoundCheck
	}
	if m.Experts != nil {
		f.DummyPasses, f.MissingLayers = m.Experts.DummyPasses, m.Experts.MissingLayers
	}
	return f, nil
}
