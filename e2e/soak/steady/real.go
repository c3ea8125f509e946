package steady

// Real is what came of a real server that was traced under load (TestSoak of e2e), as it is
// handed on to what writes the page.
type Real struct {
	VLLM    string  `json:"vllm"`
	Python  string  `json:"python"`
	Minutes float64 `json:"minutes"`
	Load    string  `json:"load"` // arguments of e2e/load/load.py
	Rotate  string  `json:"rotate"`

	Steps       int64 `json:"steps"`
	Requests    int64 `json:"requests"`
	Preemptions int64 `json:"preemptions"`
	Evictions   int64 `json:"evictions"`
	Rows        int64 `json:"rows"` // of all tables
	Parts       int   `json:"parts"`
	Checks      int   `json:"checks"`
	Mismatches  int   `json:"mismatches"`
	Lost        int64 `json:"lost"`

	Anon        Trend    `json:"rss_anon_mib"`
	File        Trend    `json:"rss_file_mib"`
	Files       Trend    `json:"fds"`
	Threads     Trend    `json:"threads"`
	CPU         Trend    `json:"cpu_pct_of_a_core"`
	Server      Trend    `json:"server_rss_anon_mib"`
	ServerCPU   float64  `json:"server_cpu_pct_of_a_core"`
	DiskPerHour float64  `json:"disk_mib_per_hour"`
	Clocks      []Drift  `json:"clocks"`
	Samples     []Sample `json:"samples"` // a dozen of them
}

// Sample is a look at everything. The first is Hours 0.
type Sample struct {
	Hours  float64 `json:"h"`
	Tracer Process `json:"tracer"`
	Server Process `json:"server"`
	Disk   int64   `json:"disk"` // bytes of the session
	Files  int     `json:"files"`
}

// Drift is by how much two clocks' readings of the same lie apart, early and late.
type Drift struct {
	What  string  `json:"what"`
	Early float64 `json:"early_ms"`
	Late  float64 `json:"late_ms"`
	Bound float64 `json:"bound_ms"` // of the difference
	Pairs int     `json:"pairs"`    // of readings in each
}

const mib = 1 << 20

// Judge works out the trends of samples.
func (r *Real) Judge(samples []Sample) {
	var anon, file, fds, threads, cpu, server Series
	for i, s := range samples {
		anon.Add(s.Hours, float64(s.Tracer.Anon)/mib)
		file.Add(s.Hours, float64(s.Tracer.File)/mib)
		fds.Add(s.Hours, float64(s.Tracer.Files))
		threads.Add(s.Hours, float64(s.Tracer.Threads))
		server.Add(s.Hours, float64(s.Server.Anon)/mib)
		if i > 0 {
			last := samples[i-1]
			cpu.Add(s.Hours, 100*(s.Tracer.CPU-last.Tracer.CPU)/(3600*(s.Hours-last.Hours)))
		}
	}
	first, last := samples[0], samples[len(samples)-1]
	const fifth = 0.2
	warmUp := min(last.Hours/5, 1.0/6)
	r.Minutes = last.Hours * 60
	// A Go program's heap is a sawtooth. A leak that matters would be more in a day: the bound
	// of an hour is a tenth of what there is.
	r.Anon = Of(anon, warmUp, fifth, 4)
	r.File = Of(file, warmUp, fifth, 4)
	r.Files = Of(fds, warmUp, fifth, 4)       // a part may be open, or complete
	r.Threads = Of(threads, warmUp, fifth, 2) // Go starts one when others block
	r.CPU = Of(cpu, warmUp, fifth, 5)
	r.Server = Of(server, warmUp, fifth, 0) // vLLM's own: shown, not judged
	r.ServerCPU = 100 * (last.Server.CPU - first.Server.CPU) / (3600 * last.Hours)
	r.DiskPerHour = float64(last.Disk-first.Disk) / mib / last.Hours
	r.Samples = Thin(samples, 12)
}

// Thin leaves so many, evenly spread, and the last.
func Thin(samples []Sample, n int) (left []Sample) {
	for i := range n {
		left = append(left, samples[i*(len(samples)-1)/n])
	}
	return append(left, samples[len(samples)-1])
}
