package cpython

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// Mapping is one line of /proc/PID/maps.
type Mapping struct {
	Start, End uint64
	Perms      string // "r-xp"
	Offset     uint64
	Inode      uint64
	Path       string // as the process sees it, without " (deleted)"
	Deleted    bool
}

func readMaps(pid int) ([]Mapping, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseMaps(f)
}

// parseMaps skips lines that it does not understand.
func parseMaps(r io.Reader) ([]Mapping, error) {
	var out []Mapping
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		if m, ok := parseMapping(s.Text()); ok {
			out = append(out, m)
		}
	}
	return out, s.Err()
}

func parseMapping(line string) (Mapping, bool) {
	var m Mapping
	fields := make([]string, 0, 6)
	rest := line
	for len(fields) < 5 {
		field, after, found := strings.Cut(rest, " ")
		fields = append(fields, field)
		rest = after
		if !found {
			break
		}
	}
	if len(fields) < 5 {
		return m, false
	}
	lo, hi, _ := strings.Cut(fields[0], "-")
	var errs [4]error
	m.Start, errs[0] = strconv.ParseUint(lo, 16, 64)
	m.End, errs[1] = strconv.ParseUint(hi, 16, 64)
	m.Perms = fields[1]
	m.Offset, errs[2] = strconv.ParseUint(fields[2], 16, 64)
	m.Inode, errs[3] = strconv.ParseUint(fields[4], 10, 64)
	m.Path, m.Deleted = strings.CutSuffix(strings.TrimLeft(rest, " "), " (deleted)")
	for _, err := range errs {
		if err != nil {
			return m, false
		}
	}
	return m, m.Start < m.End
}
