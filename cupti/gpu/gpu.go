// Package gpu watches the GPUs of traced processes through the driver's management
// library: NVML, and GPM where the device has it. It changes nothing on a device
// and holds no counter session, so it goes well with every other tool.
//
// It needs cgo; built without, Open returns a *NotAvailable.
package gpu

import (
	"fmt"
	"time"
)

// MinInterval is the least time between two samples: GPM gives NaN below it, and
// NVML's own averages change no faster.
const MinInterval = 100 * time.Millisecond

// Interval is how often to call Sample: as much over MinInterval as a late timer
// needs, so that no call falls below it.
const Interval = 125 * time.Millisecond

// NotAvailable says why there is nothing to watch here.
type NotAvailable struct {
	What string // that is missing
	Why  string // as found
	How  string // to get it
}

func (e *NotAvailable) Error() string { return e.What + ": " + e.Why }

// Remedy says what to do.
func (e *NotAvailable) Remedy() string { return e.How }

// Options of Open.
type Options struct {
	// Library is the path of libnvidia-ml.so.1; empty: as the loader finds it.
	Library string
}

// Address is where a device sits on the PCI bus.
type Address struct {
	Domain, Bus, Device uint32
}

func (a Address) String() string {
	return fmt.Sprintf("%08x:%02x:%02x.0", a.Domain, a.Bus, a.Device)
}

// CallSample stands for all calls of a sample, which was not taken.
const CallSample = "sample"

// Failure counts the calls on one device that did not give what they are for.
type Failure struct {
	Index  int    // of the device
	Call   string // of NVML
	Reason string
	Count  uint64
}
