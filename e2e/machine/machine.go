// Package machine says where figures were measured, and when.
package machine

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Machine is one of them.
type Machine struct {
	Date       string  `json:"date"`
	CPU        string  `json:"cpu"`
	Cores      int     `json:"cores"`
	MemoryGiB  float64 `json:"memory_gib"`
	Hypervisor bool    `json:"virtual_machine"`
	Kernel     string  `json:"kernel"`
	Go         string  `json:"go"`
}

// This is where we run, today.
func This() (Machine, error) {
	var u unix.Utsname
	var info unix.Sysinfo_t
	if err := errors.Join(unix.Uname(&u), unix.Sysinfo(&info)); err != nil {
		return Machine{}, err
	}
	m := Machine{
		Date: time.Now().UTC().Format("2006-01-02"), Cores: runtime.NumCPU(),
		MemoryGiB: float64(info.Totalram) * float64(info.Unit) / (1 << 30),
		Kernel:    unix.ByteSliceToString(u.Release[:]) + " " + unix.ByteSliceToString(u.Machine[:]),
		Go:        runtime.Version(),
	}
	b, err := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch strings.TrimSpace(name) {
		case "model name":
			m.CPU = strings.TrimSpace(value)
		case "flags":
			m.Hypervisor = strings.Contains(value+" ", " hypervisor ")
		}
	}
	return m, err
}

// String is the machine in a line.
func (m Machine) String() string {
	where := "bare metal"
	if m.Hypervisor {
		where = "a virtual machine"
	}
	return fmt.Sprintf("%s: %s, %d cores, %.0f GiB, %s, Linux %s, %s", m.Date, m.CPU, m.Cores, m.MemoryGiB, where, m.Kernel, m.Go)
}
