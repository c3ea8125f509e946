package main

import (
	"time"

	"github.com/pmtrace/pmtrace/decode/record"
)

// callWindows probes kernel launches and copies for a time of each period (--cpu-windows).
// Where the server's CUPTI fails, the window stays open: the times of steps are then bound by
// these calls.
type callWindows struct {
	t     *trace
	every windows
	timer *time.Timer // nil: nothing to do
	open  bool
}

func newCallWindows(t *trace) *callWindows {
	c := &callWindows{t: t, every: t.opts.cpuWindows}
	if c.every.Window > 0 && !c.every.always() {
		c.timer = time.NewTimer(workerPace)
	}
	return c
}

// due ticks when a window begins or ends.
func (c *callWindows) due() <-chan time.Time {
	if c.timer == nil {
		return nil
	}
	return c.timer.C
}

// turn opens the window, or closes it.
func (c *callWindows) turn() error {
	if c.open && !c.t.cupti.failed.Load() {
		c.t.rec.attach(func() ([]record.Fact, error) { return c.t.tracer.EndWindow(), nil })
		c.t.tracer.CloseWindow()
		c.open = false
		c.timer.Reset(c.every.Period - c.every.Window)
		return nil
	}
	if c.t.rec == nil || len(c.t.workers.probed) == 0 {
		c.timer.Reset(workerPace)
		return nil
	}
	for _, f := range c.t.tracer.OpenWindow() {
		if err := c.t.rec.fact(f); err != nil {
			return err
		}
	}
	c.open = true
	c.timer.Reset(c.every.Window)
	return nil
}

func (c *callWindows) close() {
	if c.timer != nil {
		c.timer.Stop()
	}
}
