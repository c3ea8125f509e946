package render

import "strconv"

// Order of an engine's tracks, and of what stands below its GPU.
const (
	rankScheduler = iota
	rankGPU
	rankComponents
	rankCollectives
	rankCPU
	rankHooks
	rankCounters
	rankRequests
)

const (
	rankGPUSteps = iota
	rankReplays
	rankWindows
	rankKernels
	rankNCCL
)

// Devices stand behind the engines.
const rankDevices = 1 << 20

func number(what string, n int32) string { return what + " " + strconv.Itoa(int(n)) }

func (t *trace) engine(n int32) track {
	return t.group(place{0, int(n), number("engine", n)})
}

// engineOf is where rows stand that may be of no known engine.
func (t *trace) engineOf(n *int32) track {
	if n == nil {
		return t.group(place{0, rankDevices - 1, "no engine"})
	}
	return t.engine(*n)
}

func (t *trace) gpu(engine track) track {
	return t.group(place{engine, rankGPU, "GPU"})
}

// ofWorker is the place of a kind of slices of a worker below the GPU.
func (t *trace) ofWorker(engine *int32, worker int32, rank int, name string) place {
	return place{t.gpu(t.engineOf(engine)), rank, name + ", " + number("worker", worker)}
}
