package main

import (
	"encoding/binary"
	"math"
	"os"

	"github.com/pmtrace/pmtrace/decode/record"
)

// replayed is a replay by the CUDA events around it (struct record of inject/replays.c).
type replayed struct {
	launched int64 // CLOCK_MONOTONIC: before the call
	exec     uint64
	ms       float64 // negative: not known
	gapMS    float64 // since the one before
}

func readEvents(path string) ([]replayed, error) {
	if path == "" {
		return nil, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	const size = 32
	var list []replayed
	for ; len(b) >= size; b = b[size:] {
		list = append(list, replayed{
			int64(binary.LittleEndian.Uint64(b)), binary.LittleEndian.Uint64(b[8:]),
			float64(math.Float32frombits(binary.LittleEndian.Uint32(b[16:]))), float64(math.Float32frombits(binary.LittleEndian.Uint32(b[20:]))),
		})
	}
	return list, nil
}

// events compares CUPTI's times of replays with the CUDA events around each.
type events struct {
	Launches, Events int
	NotSeen          int // by pmtrace, while it probed
	NoEvents         int // launches without: the witness was off
	ByCUPTI          int // of the launches
	DurationUS       spread
	RelativePct      spread // of the duration, each replay
	// Queued are those that waited on the GPU: else the event before the replay is long done when its launch arrives.
	Queued struct {
		Replays     int
		DurationUS  spread
		RelativePct spread
	}
	// TotalPct is that of all times in replays; SpanPct that of replays and gaps together, from first to last.
	TotalPct, SpanPct float64
	GapUS             spread
}

func (e *events) differ() bool { return e != nil && (e.NotSeen > 0 || e.ByCUPTI == 0) }

// queuedNS: a launch that begins to run so much later was waiting for the GPU.
const queuedNS = 500_000

// against pairs by time: the witness looks at the clock, calls, and the call is seen.
func (s *traced) against(list []replayed) *events {
	if list == nil {
		return nil
	}
	e := &events{Launches: len(s.launches), Events: len(list)}
	var duration, relative, gap, queued, queuedRelative []float64
	var ours, theirs, span, theirSpan float64
	var before *record.GraphLaunchRow
	at := 0
	for i := range s.launches {
		l := &s.launches[i]
		for at+1 < len(list) && list[at+1].launched <= l.LaunchNS {
			if list[at].launched >= s.launches[0].LaunchNS {
				e.NotSeen++
			}
			at++
		}
		if at == len(list) || list[at].launched > l.LaunchNS {
			e.NoEvents++
			before = nil
			continue
		}
		w := list[at]
		at++
		if l.TimingSource == nil || *l.TimingSource != record.TimingCUPTI || l.StartNS == nil || l.EndNS == nil || w.ms < 0 {
			before = nil
			continue
		}
		e.ByCUPTI++
		us := float64(*l.EndNS-*l.StartNS) / 1e3
		duration = append(duration, us-w.ms*1e3)
		relative = append(relative, 100*(us/(w.ms*1e3)-1))
		if *l.StartNS-l.LaunchNS+s.zero > queuedNS {
			queued = append(queued, us-w.ms*1e3)
			queuedRelative = append(queuedRelative, 100*(us/(w.ms*1e3)-1))
		}
		ours, theirs = ours+us, theirs+w.ms*1e3
		span, theirSpan = span+us, theirSpan+w.ms*1e3
		if before != nil && w.gapMS >= 0 {
			us := float64(*l.StartNS-*before.EndNS) / 1e3
			gap = append(gap, us-w.gapMS*1e3)
			span, theirSpan = span+us, theirSpan+w.gapMS*1e3
		}
		before = l
	}
	if theirs > 0 {
		e.TotalPct, e.SpanPct = 100*(ours/theirs-1), 100*(span/theirSpan-1)
	}
	e.Queued.Replays, e.Queued.DurationUS, e.Queued.RelativePct = len(queued), of(queued), of(queuedRelative)
	e.DurationUS, e.RelativePct, e.GapUS = of(duration), of(relative), of(gap)
	return e
}
