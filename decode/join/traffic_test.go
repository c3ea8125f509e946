package join

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/model"
	"github.com/pmtrace/pmtrace/decode/record"
)

// classes takes the rows of kernel_classes.
type classes struct {
	record.Discard
	rows map[string]record.KernelClassRow
}

func (c *classes) KernelClass(r *record.KernelClassRow) error {
	name := r.Class
	if r.Name != nil {
		name = *r.Name
	}
	c.rows[name] = *r
	return nil
}

// moves is a kernel that moves bytes evenly.
type moves struct {
	name, class string
	ns          int64
	read, write float64 // bytes a ns
}

// TestTraffic: kernels that move what they move, in samples of 20 µs whose clock is 9 µs off,
// with noise: what each moves is found, whether it is shorter than samples or longer, and
// what a class moves all in all. It is not said of what too little is known.
func TestTraffic(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	step := []moves{
		{"norm", "norm/activation", 2_300, 400, 900}, {"qkv", "ffn/gemm", 21_000, 2400, 30}, {"attend", "attention", 9_000, 1200, 0},
		{"o", "ffn/gemm", 14_000, 2300, 20}, {"gate", "ffn/gemm", 86_000, 2750, 50}, {"act", "norm/activation", 2_400, 0, 1000},
		{"down", "ffn/gemm", 43_000, 2740, 10}, {"prefill", "ffn/gemm", 400_000, 800, 190},
	}
	sink := &classes{rows: map[string]record.KernelClassRow{}}
	j := New(sink)
	d := &device{j: j, sampled: true, model: &model.GPU{Bandwidth: 3.35e12}}
	d.metrics = [...]int{0, 1, 2, 3, 4, 5}
	in := &injected{j: j, w: &worker{}, traffic: newTraffic()}
	in.traffic.d = d
	in.fact.Always = true
	tr := in.traffic

	const off = 9_000
	end := int64(4_000_000_000)
	moved := make([][2]float64, end/20_000+1)
	busy := make([]float64, len(moved))
	for at := int64(1_000_000); at < end-2_000_000; at += rng.Int64N(300_000) {
		for i := range step {
			k := &step[i]
			if k.name == "prefill" && rng.IntN(10) > 0 {
				continue
			}
			ns := k.ns + rng.Int64N(k.ns/20)
			tr.kernel(&record.KernelRow{TimeNS: at, DurNS: ns, Name: k.name, Class: &k.class})
			for from := at; from < at+ns; {
				sample := from / 20_000
				to := min((sample+1)*20_000, at+ns)
				share := float64(to-from) * float64(k.ns) / float64(ns)
				moved[sample][0] += share * k.read
				moved[sample][1] += share * k.write
				busy[sample] += float64(to - from)
				from = to
			}
			at += ns + 500 + rng.Int64N(1500)
		}
	}
	for i, m := range moved {
		at := int64(i)*20_000 + off
		noisy := func(v float64) float32 { return float32(max(v*(1+.05*rng.NormFloat64())+1e4*rng.NormFloat64(), 0)) }
		tr.sample(sample{begin: at, end: at + 20_000, read: noisy(m[0]), written: noisy(m[1]), tensor: float32(busy[i] / 200)})
		if i%50_000 == 0 {
			tr.sample(sample{begin: at, end: at + 20_000, read: float32(math.Inf(1)), written: float32(math.NaN())})
			tr.fold(at - 1_000_000_000)
		}
	}
	in.emitTraffic()
	qt.Assert(t, qt.IsTrue(tr.shift >= -off-2000 && tr.shift <= -off+2000), qt.Commentf("%d", tr.shift))

	gemm := [3]float64{}
	for _, k := range step {
		r := sink.rows[k.name]
		if k.ns < 3000 { // too short: nothing is said
			qt.Check(t, qt.IsNil(r.Method))
			continue
		}
		method := methodRegression
		if k.ns > 300_000 {
			method = methodFolded
		}
		qt.Assert(t, qt.Equals(*r.Method, method), qt.Commentf("%s", k.name))
		mean := float64(k.ns) / (float64(r.DurNS) / float64(r.Kernels)) // the same bytes in a longer time
		for what, c := range map[string]struct{ got, want float64 }{
			"read": {*r.DRAMReadBps / 1e9, k.read * mean}, "write": {*r.DRAMWriteBps / 1e9, k.write * mean},
		} {
			within := .01*c.want + 10
			if r.DRAMErrorBps != nil {
				within += *r.DRAMErrorBps / 1e9
			}
			qt.Check(t, qt.IsTrue(math.Abs(c.got-c.want) < within), qt.Commentf("%s %s: %.0f, want %.0f", k.name, what, c.got, c.want))
		}
		qt.Check(t, qt.IsTrue(math.Abs(*r.BandwidthShare-(*r.DRAMReadBps+*r.DRAMWriteBps)/3.35e12) < 1e-9))
		qt.Check(t, qt.IsTrue(*r.TensorActivePct > 90), qt.Commentf("%s: %f", k.name, *r.TensorActivePct))
		if k.class == "ffn/gemm" {
			gemm[0] += float64(r.DurNS)
			gemm[1] += float64(r.DurNS) * k.read * mean
			gemm[2] += float64(r.Kernels)
		}
	}
	r := sink.rows["ffn/gemm"]
	qt.Check(t, qt.Equals(float64(r.DurNS), gemm[0]))
	qt.Check(t, qt.Equals(float64(r.Kernels), gemm[2]))
	qt.Check(t, qt.IsTrue(math.Abs(*r.DRAMReadBps/1e9/(gemm[1]/gemm[0])-1) < .02), qt.Commentf("%f", *r.DRAMReadBps))
	qt.Check(t, qt.Equals(*r.Method, methodRegression))
	qt.Check(t, qt.HasLen(tr.samples, 0))
}

// TestTrafficUnknown: kernels of which no sample tells have no rates, but are counted; and
// however many names there are, what is kept is bounded.
func TestTrafficUnknown(t *testing.T) {
	sink := &classes{rows: map[string]record.KernelClassRow{}}
	j := New(sink)
	in := &injected{j: j, w: &worker{}, traffic: newTraffic()}
	in.traffic.d = &device{j: j, sampled: true}
	moe := "moe"
	for i := range int64(10_000) {
		in.traffic.kernel(&record.KernelRow{TimeNS: i * 100, DurNS: 50, Name: fmt.Sprint("kernel ", i), Class: &moe})
	}
	in.emitTraffic()
	r := sink.rows["moe"]
	qt.Assert(t, qt.Equals(r.Kernels, 10_000))
	qt.Assert(t, qt.Equals(r.DurNS, 500_000))
	qt.Assert(t, qt.IsNil(r.Method))
	qt.Assert(t, qt.IsNil(r.DRAMReadBps))
	qt.Assert(t, qt.IsTrue(len(in.traffic.named) == maxTrafficNames+1))
}
