package live

// gpuSum adds up the GPU's time, engine by engine.
type gpuSum struct {
	engines map[int32]*gpuSpan
	sources map[string]int64
}

type gpuSpan struct{ busy, waiting, end int64 }

func (g *gpuSum) add(s *stepSample, from int64) {
	if s.gpu < 0 {
		return
	}
	g.sources[s.source]++
	e := g.engines[s.engine]
	if e == nil {
		e = &gpuSpan{}
		g.engines[s.engine] = e
	}
	end := s.gpuStart + s.gpu
	e.end = max(e.end, end)
	e.busy += max(end-max(s.gpuStart, from), 0)
	if s.idle > 0 && !s.drained {
		e.waiting += max(s.gpuStart-max(s.gpuStart-s.idle, from), 0)
	}
}

// share is of the time from from to the newest step's end on the GPU, where more of them
// are on their way, else to to. nil: no GPU time is known.
func (g *gpuSum) share(from, to int64, idle bool) *GPUShare {
	var busy, waiting, whole int64
	for _, e := range g.engines {
		end := to
		if !idle {
			end = min(e.end, to)
		}
		busy, waiting, whole = busy+e.busy, waiting+e.waiting, whole+max(end-from, 0)
	}
	if whole == 0 {
		return nil
	}
	s := &GPUShare{BusyPct: min(percent(busy, whole), 100), WaitingPct: min(percent(waiting, whole), 100)}
	s.OtherPct = max(100-s.BusyPct-s.WaitingPct, 0)
	most := int64(0)
	for source, n := range g.sources {
		if n > most || n == most && source < s.Source {
			s.Source, most = source, n
		}
	}
	return s
}

// graphSum adds up how steps used graphs.
type graphSum struct {
	known, full, piecewise, eager int64
	paddingKnown                  bool
	padding, computed             int64
}

func (g *graphSum) add(s *stepSample) {
	switch s.mode {
	case "FULL":
		g.full++
	case "PIECEWISE":
		g.piecewise++
	case "NONE":
		g.eager++
	}
	if s.mode != "" {
		g.known++
	}
	if s.padding >= 0 {
		g.paddingKnown = true
		g.padding += int64(s.padding)
		g.computed += int64(s.padding) + int64(s.tokens)
	}
}

func (g *graphSum) graphs() *Graphs {
	if g.known == 0 {
		return nil
	}
	out := &Graphs{FullPct: percent(g.full, g.known), PiecewisePct: percent(g.piecewise, g.known), EagerPct: percent(g.eager, g.known)}
	if g.paddingKnown {
		p := percent(g.padding, g.computed)
		out.PaddingPct = &p
	}
	return out
}

// percent of nothing is 0.
func percent(part, whole int64) float64 {
	if whole <= 0 {
		return 0
	}
	return 100 * float64(part) / float64(whole)
}
