//go:build !cgo

package gpu

import "github.com/pmtrace/pmtrace/decode/record"

// Monitor watches devices; without cgo there is none.
type Monitor struct{}

// Open returns a *NotAvailable: NVML is reached through cgo.
func Open(Options) (*Monitor, error) {
	return nil, &NotAvailable{
		What: "GPU samples",
		Why:  "built without cgo",
		How:  "build pmtrace where there is a C compiler, with CGO_ENABLED=1",
	}
}

// Devices returns nothing.
func (*Monitor) Devices() []record.GPU { return nil }

// Use does nothing.
func (*Monitor) Use([]int) {}

// Sample returns nothing.
func (*Monitor) Sample() []record.GPUSample { return nil }

// Notes returns nothing.
func (*Monitor) Notes() []string { return nil }

// Failures returns nothing.
func (*Monitor) Failures() []Failure { return nil }

// Address returns nothing.
func (*Monitor) Address(int) (Address, bool) { return Address{}, false }

// PeakDRAM returns 0: not known.
func (*Monitor) PeakDRAM(int) float64 { return 0 }

// Close does nothing.
func (*Monitor) Close() error { return nil }
