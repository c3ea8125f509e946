package page

import (
	"maps"
	"math"
	"slices"

	"github.com/pmtrace/pmtrace/decode/record"
)

// deviceBuckets bounds those of one GPU.
const deviceBuckets = 1024

// mostDevices bounds the GPUs that are shown.
const mostDevices = 16

// reading is what samples of a GPU say: thousandths, so that they are added up as integers.
type reading levels

func (m *reading) add(v *float64) {
	if v == nil || math.IsNaN(*v) || math.Abs(*v) > 1e12 {
		return
	}
	x := int64(math.Round(*v * 1000))
	m.merge(&reading{1, x, x, x, x})
}

func (m *reading) merge(o *reading) {
	(*levels)(m).merge((*levels)(o))
}

// deviceBucket is what NVML and GPM said of a GPU in a stretch of time.
type deviceBucket struct{ sm, util, dram, power, clock reading }

func mergeDevices(b, o *deviceBucket) {
	b.sm.merge(&o.sm)
	b.util.merge(&o.util)
	b.dram.merge(&o.dram)
	b.power.merge(&o.power)
	b.clock.merge(&o.clock)
}

type devices map[int32]*grid[deviceBucket]

func (d devices) sample(r *record.GPUSampleRow) {
	g := d[r.GPU]
	if g == nil {
		if len(d) >= mostDevices {
			return
		}
		g = newGrid(0, deviceBuckets, mergeDevices)
		d[r.GPU] = g
	}
	b := g.at(r.TimeNS)
	b.sm.add(r.SMPct)
	b.util.add(r.UtilPct)
	b.dram.add(r.DRAMPct)
	b.power.add(r.PowerW)
	b.clock.add(r.SMClockMHz)
}

// deviceData is a GPU over time. Values are in thousandths of their unit; buckets
// without a sample are left out.
type deviceData struct {
	GPU     int32   `json:"gpu"`
	Name    string  `json:"name"`
	LimitW  float64 `json:"power_limit_w"` // 0: not known
	WidthNS int64   `json:"width_ns"`
	Bucket  deltas  `json:"bucket"`
	Columns columns `json:"columns"`
}

func (d devices) data(gpus []record.GPU) []deviceData {
	list := []deviceData{}
	for _, index := range slices.Sorted(maps.Keys(d)) {
		g := d[index]
		one := deviceData{GPU: index, WidthNS: g.width, Columns: columns{}}
		for _, gpu := range gpus {
			if int32(gpu.Index) == index {
				one.Name, one.LimitW = gpu.Name, float64(gpu.PowerLimitW)
			}
		}
		for i := range g.buckets {
			one.add(int64(i), &g.buckets[i])
		}
		one.Columns.trim(func(name string) bool { return name[len(name)-2:] == "_n" })
		list = append(list, one)
	}
	return list
}

func (d *deviceData) add(i int64, b *deviceBucket) {
	values := [...]struct {
		name string
		of   *reading
	}{{"sm", &b.sm}, {"util", &b.util}, {"dram", &b.dram}, {"power", &b.power}, {"clock", &b.clock}}
	known := false
	for _, v := range values {
		known = known || v.of.n > 0
	}
	if !known {
		return
	}
	d.Bucket = append(d.Bucket, i)
	for _, v := range values {
		mean, low, high := int64(none), int64(none), int64(none)
		if v.of.n > 0 {
			mean, low, high = v.of.sum/v.of.n, v.of.min, v.of.max
		}
		d.Columns[v.name+"_n"] = append(d.Columns[v.name+"_n"], v.of.n)
		d.Columns[v.name+"_mean"] = append(d.Columns[v.name+"_mean"], mean)
		d.Columns[v.name+"_min"] = append(d.Columns[v.name+"_min"], low)
		d.Columns[v.name+"_max"] = append(d.Columns[v.name+"_max"], high)
	}
}
