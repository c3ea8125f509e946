package cpython

import (
	"fmt"
	"regexp"
	"strconv"
)

// Version is a CPython version. Micro is -1 where only the path told it (3.10 has no symbol
// for it) and sys.hexversion was not to be had.
type Version struct{ Major, Minor, Micro int }

func (v Version) String() string {
	if v.Micro < 0 {
		return fmt.Sprintf("%d.%d", v.Major, v.Minor)
	}
	return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Micro)
}

// The minor versions of CPython 3 that this package has a table for.
const (
	OldestMinor = 10
	NewestMinor = 14
)

func (v Version) supported() bool {
	return v.Major == 3 && v.Minor >= OldestMinor && v.Minor <= NewestMinor
}

// nearest is the minor version whose table fits an unknown v best.
func (v Version) nearest() int {
	if v.Major < 3 {
		return OldestMinor
	}
	return min(max(v.Minor, OldestMinor), NewestMinor)
}

// versionFromHex reads PY_VERSION_HEX, 0xMMmmuuRR.
func versionFromHex(hex uint64) (Version, bool) {
	v := Version{int(hex >> 24 & 0xff), int(hex >> 16 & 0xff), int(hex >> 8 & 0xff)}
	return v, hex>>32 == 0 && v.Major >= 2 && v.Major <= 4
}

// versionFromPath reads "…/libpython3.11.so.1.0" or "…/bin/python3.11". The
// second result is whether the name has the free-threaded build's "t".
func versionFromPath(path string) (v Version, threaded, ok bool) {
	m := regexp.MustCompile(`python(\d)\.?(\d+)(t?)`).FindStringSubmatch(path[lastSlash(path):])
	if m == nil {
		return Version{}, false, false
	}
	major, _ := strconv.Atoi(m[1])
	minor, err := strconv.Atoi(m[2])
	return Version{major, minor, -1}, m[3] == "t", err == nil
}

func lastSlash(path string) int {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '/' {
			return i
		}
	}
	return 0
}
