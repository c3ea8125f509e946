package cpython

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"unsafe"

	"github.com/go-quicktest/qt"
	"golang.org/x/sys/unix"
)

// guarded maps three pages of which the middle one cannot be read.
func guarded(t *testing.T) (first, hole, last uint64) {
	t.Helper()
	b, err := unix.Mmap(-1, 0, 3*pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	qt.Assert(t, qt.IsNil(err))
	t.Cleanup(func() { unix.Munmap(b) })
	for i := range b {
		b[i] = byte(i >> 12)
	}
	qt.Assert(t, qt.IsNil(unix.Mprotect(b[pageSize:2*pageSize], unix.PROT_NONE)))
	at := uint64(uintptr(unsafe.Pointer(&b[0])))
	return at, at + pageSize, at + 2*pageSize
}

func TestReadMultiGoesOnBehindHoles(t *testing.T) {
	first, hole, last := guarded(t)
	self := ProcessMemory(os.Getpid())
	for name, mem := range map[string]Memory{"process": self, "cached": Cached(self, 16), "full cache": Cached(self, 1)} {
		t.Run(name, func(t *testing.T) {
			var reqs []ReadRequest
			for range 700 { // more than the kernel takes at once
				for _, addr := range []uint64{first, hole, last} {
					reqs = append(reqs, ReadRequest{Addr: addr + 8, Buf: make([]byte, 8)})
				}
			}
			reqs = append(reqs, ReadRequest{Addr: last, Buf: nil})
			ReadMulti(mem, reqs)
			for i := 0; i+2 < len(reqs); i += 3 {
				qt.Assert(t, qt.IsNil(reqs[i].Err))
				qt.Assert(t, qt.DeepEquals(reqs[i].Buf, bytes.Repeat([]byte{0}, 8)))
				qt.Assert(t, qt.ErrorIs(reqs[i+1].Err, unix.EFAULT))
				qt.Assert(t, qt.IsNil(reqs[i+2].Err))
				qt.Assert(t, qt.DeepEquals(reqs[i+2].Buf, bytes.Repeat([]byte{2}, 8)))
			}
		})
	}
}

func TestReadAtAcrossHole(t *testing.T) {
	first, _, _ := guarded(t)
	self := ProcessMemory(os.Getpid())
	for name, mem := range map[string]Memory{"process": self, "cached": Cached(self, 16)} {
		t.Run(name, func(t *testing.T) {
			qt.Check(t, qt.IsNotNil(mem.ReadAt(first+pageSize-8, make([]byte, 16))))
			qt.Check(t, qt.IsNil(mem.ReadAt(first+pageSize-8, make([]byte, 8))))
			qt.Check(t, qt.IsNil(mem.ReadAt(first, nil)))
			qt.Check(t, qt.IsNotNil(mem.ReadAt(^uint64(0)-3, make([]byte, 8))))
		})
	}
}

// TestCachedIsOneMoment: a page is read once.
func TestCachedIsOneMoment(t *testing.T) {
	rec := &Recording{Pages: map[uint64][]byte{1: bytes.Repeat([]byte{7}, pageSize)}}
	c := Cached(rec, 4)
	buf := make([]byte, 2)
	qt.Assert(t, qt.IsNil(c.ReadAt(pageSize, buf)))
	rec.Pages[1] = bytes.Repeat([]byte{9}, pageSize)
	qt.Assert(t, qt.IsNil(c.ReadAt(pageSize+100, buf)))
	qt.Check(t, qt.DeepEquals(buf, []byte{7, 7}))
}

func TestReadRecordingRefuses(t *testing.T) {
	_, err := ReadRecording(strings.NewReader("not zstd at all"))
	qt.Check(t, qt.IsNotNil(err))
	var buf bytes.Buffer
	rec := &Recording{Pages: map[uint64][]byte{3: make([]byte, pageSize)}}
	_, err = rec.WriteTo(&buf)
	qt.Assert(t, qt.IsNil(err))
	_, err = ReadRecording(bytes.NewReader(buf.Bytes()[:buf.Len()/2]))
	qt.Check(t, qt.IsNotNil(err))
	again, err := ReadRecording(&buf)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.DeepEquals(again, rec))
}

func TestParseMaps(t *testing.T) {
	maps, err := parseMaps(strings.NewReader(`00400000-00420000 r--p 00000000 fd:01 123                                /usr/bin/python3.11
7f0000000000-7f0000001000 rw-p 00002000 00:00 0 
7f0000002000-7f0000003000 r-xp 00001000 fd:01 9    /opt/my python/libpython3.12.so.1.0 (deleted)
garbage
7f0000003000-7f0000002000 r-xp 00001000 fd:01 9    /backwards
zz-00 r-xp 00001000 fd:01 9    /no/number
`))
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.DeepEquals(maps, []Mapping{
		{Start: 0x400000, End: 0x420000, Perms: "r--p", Inode: 123, Path: "/usr/bin/python3.11"},
		{Start: 0x7f0000000000, End: 0x7f0000001000, Perms: "rw-p", Offset: 0x2000},
		{Start: 0x7f0000002000, End: 0x7f0000003000, Perms: "r-xp", Offset: 0x1000, Inode: 9, Path: "/opt/my python/libpython3.12.so.1.0", Deleted: true},
	}))
	qt.Check(t, qt.DeepEquals(
		candidates([]Mapping{{Path: "/x/libtorch_python.so"}, {Path: "/x/libpython3.12.so.1.0"}, {Path: "[heap]"}, {Path: "/usr/bin/server"}}, "/usr/bin/server"),
		[]string{"/x/libpython3.12.so.1.0", "/usr/bin/server", "/x/libtorch_python.so"}))
}

func TestVersionFromPath(t *testing.T) {
	for path, want := range map[string]struct {
		v        Version
		threaded bool
		ok       bool
	}{
		"/usr/lib/libpython3.11.so.1.0":      {Version{3, 11, -1}, false, true},
		"/usr/bin/python3.14t":               {Version{3, 14, -1}, true, true},
		"/opt/python3.12/lib/libc.so":        {},
		"/usr/bin/python3":                   {},
		"/x/libpython3.13t.so.1.0":           {Version{3, 13, -1}, true, true},
		"libpython3.99999999999999999999.so": {Version{3, 1<<63 - 1, -1}, false, false},
	} {
		v, threaded, ok := versionFromPath(path)
		qt.Check(t, qt.Equals(ok, want.ok), qt.Commentf("%s", path))
		if want.ok {
			qt.Check(t, qt.Equals(v, want.v), qt.Commentf("%s", path))
			qt.Check(t, qt.Equals(threaded, want.threaded), qt.Commentf("%s", path))
		}
	}
}
