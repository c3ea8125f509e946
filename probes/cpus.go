package probes

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// onlineCPUs lists the CPUs that run something.
func onlineCPUs() ([]int, error) {
	const name = "/sys/devices/system/cpu/online"
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	list, err := parseCPUs(strings.TrimSpace(string(b)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return list, nil
}

// maxCPUs is far above what any kernel is built for.
const maxCPUs = 1 << 14

// parseCPUs reads the kernel's lists of CPUs: 0-3,6.
func parseCPUs(text string) ([]int, error) {
	var list []int
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, err := strconv.Atoi(first)
		if err != nil {
			return nil, err
		}
		to, err := strconv.Atoi(last)
		if err != nil {
			return nil, err
		}
		if from < 0 || to >= maxCPUs {
			return nil, fmt.Errorf("%q is no list of CPUs", text)
		}
		for cpu := from; cpu <= to; cpu++ {
			list = append(list, cpu)
		}
	}
	return list, nil
}
