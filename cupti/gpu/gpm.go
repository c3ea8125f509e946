//go:build cgo

package gpu

import (
	"math"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"github.com/pmtrace/pmtrace/decode/record"
)

// gpm holds the sample that the next one is compared with.
type gpm struct {
	before, now nvml.GpmSample
	beforeNS    int64
	taken       bool // before holds a sample
}

const symbolGPM = "nvmlGpmMetricsGet"

const mebibyte = 1 << 20 // GPM's rates are in MiB/s

// gpmMetrics says which metric fills which column, and what makes its unit.
var gpmMetrics = [...]struct {
	id    nvml.GpmMetricId
	scale float64
	of    func(*record.GPUSample) **float64
}{
	{nvml.GPM_METRIC_SM_UTIL, 1, func(s *record.GPUSample) **float64 { return &s.SMPct }},
	{nvml.GPM_METRIC_SM_OCCUPANCY, 1, func(s *record.GPUSample) **float64 { return &s.OccupancyPct }},
	{nvml.GPM_METRIC_ANY_TENSOR_UTIL, 1, func(s *record.GPUSample) **float64 { return &s.TensorPct }},
	{nvml.GPM_METRIC_DRAM_BW_UTIL, 1, func(s *record.GPUSample) **float64 { return &s.DRAMPct }},
	{nvml.GPM_METRIC_PCIE_RX_PER_SEC, mebibyte, func(s *record.GPUSample) **float64 { return &s.PCIeRxBytes }},
	{nvml.GPM_METRIC_PCIE_TX_PER_SEC, mebibyte, func(s *record.GPUSample) **float64 { return &s.PCIeTxBytes }},
	{nvml.GPM_METRIC_NVLINK_TOTAL_RX_PER_SEC, mebibyte, func(s *record.GPUSample) **float64 { return &s.NVLinkRxBytes }},
	{nvml.GPM_METRIC_NVLINK_TOTAL_TX_PER_SEC, mebibyte, func(s *record.GPUSample) **float64 { return &s.NVLinkTxBytes }},
}

// turn lets one device's GPM be asked at a time: nvmlGpmMetricsGet of two GPUs at once
// crashed the process (driver 580, two H100, each time).
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

// take reports whether it came in time.
func (t turn) take() bool {
	select {
	case t <- struct{}{}:
		return true
	case <-time.After(turnPatience):
		return false
	}
}

func (t turn) give() { <-t }

// turnPatience is more than the calls of some devices take together.
const turnPatience = 500 * time.Millisecond

// readGPM takes a sample and evaluates it against the one before. Two less than
// MinInterval apart give NaN, so then the older one waits for the next time.
func readGPM(r *reader, s *record.GPUSample, _ []int) nvml.Return {
	g := &r.gpm
	if g.taken && s.MonoNS-g.beforeNS < int64(MinInterval) {
		return nvml.SUCCESS
	}
	if ret := g.alloc(r.lib); ret != nvml.SUCCESS {
		return ret
	}
	if !r.turn.take() {
		return nvml.ERROR_TIMEOUT // another device's call does not return
	}
	defer r.turn.give()
	if ret := r.handle.GpmSampleGet(g.now); ret != nvml.SUCCESS {
		return ret
	}
	ret := nvml.SUCCESS
	if g.taken {
		ret = evaluateGPM(r, s)
	}
	g.before, g.now = g.now, g.before
	g.beforeNS, g.taken = s.MonoNS, true
	return ret
}

func evaluateGPM(r *reader, s *record.GPUSample) nvml.Return {
	get := nvml.GpmMetricsGetType{
		NumMetrics: uint32(len(gpmMetrics)),
		Sample1:    r.gpm.before,
		Sample2:    r.gpm.now,
	}
	for i, m := range gpmMetrics {
		get.Metrics[i].MetricId = uint32(m.id)
	}
	if ret := r.lib.GpmMetricsGet(&get); ret != nvml.SUCCESS {
		return ret
	}
	s.IntervalNS = s.MonoNS - r.gpm.beforeNS
	for i, m := range gpmMetrics {
		v := get.Metrics[i].Value * m.scale
		if nvml.Return(get.Metrics[i].NvmlReturn) == nvml.SUCCESS && !math.IsNaN(v) && !math.IsInf(v, 0) {
			*m.of(s) = &v
		}
	}
	return nvml.SUCCESS
}

func (g *gpm) alloc(lib nvml.Interface) nvml.Return {
	for _, s := range []*nvml.GpmSample{&g.before, &g.now} {
		if *s != nil {
			continue
		}
		allocated, ret := lib.GpmSampleAlloc()
		if ret != nvml.SUCCESS {
			return ret
		}
		*s = allocated
	}
	return nvml.SUCCESS
}

func (g *gpm) free() {
	for _, s := range []nvml.GpmSample{g.before, g.now} {
		if s != nil {
			_ = s.Free()
		}
	}
}
