//go:build cgo

package sampler

import (
	"os"
	"testing"
	"time"

	"github.com/go-quicktest/qt"
)

// nvperfVariable names a real libnvperf_host.so: what needs no GPU of it is
// tested where it is set.
const nvperfVariable = "PMTRACE_NVPERF"

// The structures of the host's half, against the library itself, which checks
// their sizes: one pass must hold what the sampler is for, on each chip.
func TestConfigureReal(t *testing.T) {
	path := os.Getenv(nvperfVariable)
	if path == "" {
		t.Skip(nvperfVariable + " is not set")
	}
	lib, err := openLibrary(path)
	qt.Assert(t, qt.IsNil(err))
	lib.trace = func(call string, status int, took time.Duration) {
		if status != 0 {
			t.Logf("%s: %s", call, statusName(status))
		}
	}
	qt.Assert(t, qt.IsNil(lib.initializeHost()))
	for _, chip := range []string{"TU102", "GA100", "GA102", "AD102", "GH100", "GB100", "GB202"} {
		t.Run(chip, func(t *testing.T) {
			begin := time.Now()
			c, err := lib.device(0, chip, chip).configure(allMetrics)
			qt.Assert(t, qt.IsNil(err))
			var names []string
			for _, m := range c.metrics {
				names = append(names, m.name)
			}
			t.Logf("%v in %v; left out %v; config %d, prefix %d, scratch %d bytes", names, time.Since(begin), c.left, c.image.size, c.prefix.size, c.scratch.size)
		})
	}
}
