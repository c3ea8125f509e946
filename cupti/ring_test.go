package cupti

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/wire"
)

const testSession = 77

// file is a ring as a process would make it.
func file(size int) []byte {
	b := make([]byte, headerBytes+size)
	le.PutUint64(b[offMagic:], ringMagic)
	le.PutUint32(b[offVersion:], ringVersion)
	le.PutUint32(b[offHeader:], headerBytes)
	le.PutUint64(b[offSize:], uint64(size))
	le.PutUint64(b[offSession:], testSession)
	le.PutUint32(b[offPID:], 1)
	le.PutUint32(b[offState:], uint32(Running))
	return b
}

// event makes a record one of CUPTI's.
func event(p []byte) []byte {
	le.PutUint64(p, 1000)
	le.PutUint16(p[12:], uint16(wire.KindCUPTICopy))
	return p
}

// put appends a record to a ring.
func put(b []byte, payload []byte) {
	size := uint64(len(b) - headerBytes)
	at := le.Uint64(b[offReserved:])
	var w [8]byte
	le.PutUint64(w[:], word(at, uint32(len(payload))))
	for i, c := range append(w[:], payload...) {
		b[headerBytes+(at+uint64(i))&(size-1)] = c
	}
	le.PutUint64(b[offReserved:], at+8+uint64(len(payload)+7)&^7)
}

func readerOf(t testing.TB, b []byte) (*Reader, string) {
	dir := t.TempDir()
	path := filepath.Join(dir, "1.ring")
	qt.Assert(t, qt.IsNil(os.WriteFile(path, b, 0o600)))
	r, err := Open(dir, testSession)
	qt.Assert(t, qt.IsNil(err))
	return r, path
}

func drained(t testing.TB, r *Reader) (n int) {
	r.Look()
	qt.Assert(t, qt.IsNil(r.Drain(false, func(b []byte) error {
		n++
		if len(b) < 16 || len(b) > maxRecord {
			t.Fatalf("a record of %d bytes", len(b))
		}
		return nil
	})))
	return n
}

// TestLap: records come whole over the ring's end, lap after lap.
func TestLap(t *testing.T) {
	b := file(minRing)
	r, path := readerOf(t, b)
	rng := rand.New(rand.NewPCG(1, 2))
	total := uint64(0)
	for range 300 {
		var want [][]byte
		for used := 0; used < minRing/2; {
			p := make([]byte, 16+rng.IntN(300))
			for i := range p {
				p[i] = byte(rng.Uint32())
			}
			event(p)
			p[offEngine] = 0 // the ring's index
			put(b, p)
			want = append(want, p)
			used += len(p) + 16
		}
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		qt.Assert(t, qt.IsNil(err))
		_, err = f.WriteAt(b[:offTail], 0)
		qt.Assert(t, qt.IsNil(err))
		_, err = f.WriteAt(b[headerBytes:], headerBytes)
		qt.Assert(t, qt.IsNil(err))
		f.Close()
		r.Look()
		i := 0
		qt.Assert(t, qt.IsNil(r.Drain(false, func(got []byte) error {
			qt.Assert(t, qt.DeepEquals(got, want[i]))
			i++
			return nil
		})))
		qt.Assert(t, qt.Equals(i, len(want)))
		total += uint64(i)
	}
	qt.Assert(t, qt.IsTrue(le.Uint64(b[offReserved:]) > 100*minRing))
	qt.Assert(t, qt.HasLen(r.Losses(), 0))
	back, err := os.ReadFile(path)
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.Equals(le.Uint64(back[offTail:]), le.Uint64(b[offReserved:])))
	qt.Assert(t, qt.Equals(le.Uint64(back[offTail+8:]), ^le.Uint64(b[offReserved:])))
	qt.Assert(t, qt.IsTrue(le.Uint64(back[offHeartbeat:]) > 0))
}

// TestHostileRings: files that are no rings are refused, and rings that lie are given
// up, with a count each.
func TestHostileRings(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"magic":       func(b []byte) []byte { b[0]++; return b },
		"version":     func(b []byte) []byte { b[offVersion]++; return b },
		"header":      func(b []byte) []byte { b[offHeader+1]++; return b },
		"session":     func(b []byte) []byte { b[offSession]++; return b },
		"size, odd":   func(b []byte) []byte { le.PutUint64(b[offSize:], minRing+8); return b },
		"size, huge":  func(b []byte) []byte { le.PutUint64(b[offSize:], 1<<40); return b },
		"size, small": func(b []byte) []byte { le.PutUint64(b[offSize:], 4096); return b },
		"short":       func(b []byte) []byte { return b[:headerBytes+100] },
		"long":        func(b []byte) []byte { return append(b, 0) },
	} {
		r, _ := readerOf(t, change(file(minRing)))
		qt.Check(t, qt.Equals(drained(t, r), 0), qt.Commentf("%s", name))
		qt.Check(t, qt.Equals(r.refused, 1), qt.Commentf("%s", name))
	}
	for name, change := range map[string]func([]byte){
		"reserved, far":   func(b []byte) { le.PutUint64(b[offReserved:], 1<<50) },
		"reserved, odd":   func(b []byte) { le.PutUint64(b[offReserved:], 100+1) },
		"reserved, wraps": func(b []byte) { le.PutUint64(b[offReserved:], ^uint64(7)) },
	} {
		b := file(minRing)
		change(b)
		r, _ := readerOf(t, b)
		qt.Check(t, qt.Equals(drained(t, r), 0), qt.Commentf("%s", name))
		qt.Check(t, qt.Equals(r.Losses()[0].Reason, "damaged"), qt.Commentf("%s", name))
		qt.Check(t, qt.IsFalse(r.Busy()), qt.Commentf("%s", name))
	}
}

// TestForeign: a process may tell of its GPU and of nothing else, and of nothing to come.
func TestForeign(t *testing.T) {
	b := file(minRing)
	put(b, event(make([]byte, 72)))
	for _, kind := range []wire.Kind{wire.KindNone, wire.KindStep, wire.KindKV, wire.KindCall, wire.KindWorkerStep, wire.KindLast + 1, 0xffff} {
		p := event(make([]byte, 96))
		le.PutUint16(p[12:], uint16(kind))
		put(b, p)
	}
	late := event(make([]byte, 72))
	le.PutUint64(late, uint64(monotonic())+10e9)
	put(b, late)
	put(b, event(make([]byte, 72)))
	r, _ := readerOf(t, b)
	qt.Assert(t, qt.Equals(drained(t, r), 2))
	qt.Assert(t, qt.Equals(r.Losses()[0].Reason, "foreign_event"))
	qt.Assert(t, qt.Equals(r.Losses()[0].Count, 8))
}

// TestOtherFiles: links, pipes and directories are no rings.
func TestOtherFiles(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(t.TempDir(), "target")
	qt.Assert(t, qt.IsNil(os.WriteFile(target, file(minRing), 0o600)))
	qt.Assert(t, qt.IsNil(os.Symlink(target, filepath.Join(dir, "1.ring"))))
	qt.Assert(t, qt.IsNil(os.Link(target, filepath.Join(dir, "2.ring"))))
	qt.Assert(t, qt.IsNil(syscall.Mkfifo(filepath.Join(dir, "3.ring"), 0o600)))
	qt.Assert(t, qt.IsNil(os.Mkdir(filepath.Join(dir, "4.ring"), 0o700)))
	r, err := Open(dir, testSession)
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.Equals(drained(t, r), 0))
	qt.Assert(t, qt.Equals(r.refused, 4))
	qt.Assert(t, qt.HasLen(r.rings, 0))
}

// TestNoHeaderYet: a file that is just being made is waited for, for a while.
func TestNoHeaderYet(t *testing.T) {
	r, path := readerOf(t, nil)
	now := time.Now()
	r.now = func() time.Time { return now }
	drained(t, r)
	qt.Assert(t, qt.Equals(r.refused, 0))
	b := file(minRing)
	put(b, event(make([]byte, 40)))
	qt.Assert(t, qt.IsNil(os.WriteFile(path, b, 0o600)))
	qt.Assert(t, qt.Equals(drained(t, r), 1))

	r, _ = readerOf(t, make([]byte, headerBytes+minRing))
	r.now = func() time.Time { return now }
	drained(t, r)
	now = now.Add(2 * patience)
	drained(t, r)
	qt.Assert(t, qt.Equals(r.refused, 1))
}

// TestUnfinished: a record that is not finished holds up what follows it, until its
// writer must be dead.
func TestUnfinished(t *testing.T) {
	b := file(minRing)
	put(b, event(make([]byte, 40)))
	at := le.Uint64(b[offReserved:])
	put(b, event(make([]byte, 40)))
	put(b, event(make([]byte, 40)))
	le.PutUint64(b[headerBytes+at:], 0)
	r, path := readerOf(t, b)
	now := time.Now()
	r.now = func() time.Time { return now }
	qt.Assert(t, qt.Equals(drained(t, r), 1))
	now = now.Add(stuckFor / 2)
	qt.Assert(t, qt.Equals(drained(t, r), 0))
	qt.Assert(t, qt.HasLen(r.Losses(), 0))
	now = now.Add(stuckFor)
	qt.Assert(t, qt.Equals(drained(t, r), 0))
	qt.Assert(t, qt.Equals(r.Losses()[0].Count, 1))
	put(b, event(make([]byte, 40)))
	qt.Assert(t, qt.IsNil(os.WriteFile(path, b, 0o600)))
	qt.Assert(t, qt.Equals(drained(t, r), 1))
}

// TestShortened: a file that is cut while it is read ends nobody.
func TestShortened(t *testing.T) {
	b := file(minRing)
	put(b, event(make([]byte, 40)))
	r, path := readerOf(t, b)
	qt.Assert(t, qt.Equals(drained(t, r), 1))
	qt.Assert(t, qt.IsNil(os.Truncate(path, 100)))
	qt.Assert(t, qt.Equals(drained(t, r), 0))
	qt.Assert(t, qt.IsFalse(r.Busy()))
}

// TestChoices: choices of experts and the GPU's clock pass, and what was overwritten
// before it was read is told by the probe that decoding counts it by.
func TestChoices(t *testing.T) {
	b := file(minRing)
	for _, kind := range []wire.Kind{wire.KindCUPTIMoE, wire.KindCUPTIClock, wire.KindLast + 1} {
		e := event(make([]byte, 64))
		le.PutUint16(e[12:], uint16(kind))
		put(b, e)
	}
	le.PutUint64(b[offLost+8*lostMoE:], 9)
	r, _ := readerOf(t, b)
	qt.Assert(t, qt.Equals(drained(t, r), 2))
	losses := map[string]uint64{}
	for _, l := range r.Losses() {
		losses[l.Probe+": "+l.Reason] = l.Count
	}
	qt.Assert(t, qt.Equals(losses["moe: overwritten"], 9))
	qt.Assert(t, qt.HasLen(losses, 2)) // and the foreign event
}

func FuzzRing(f *testing.F) {
	b := file(minRing)
	put(b, event(make([]byte, 100)))
	f.Add(b[:headerBytes], b[headerBytes:headerBytes+300])
	f.Fuzz(func(t *testing.T, header, data []byte) {
		b := make([]byte, headerBytes+minRing)
		copy(b[:headerBytes], header)
		copy(b[headerBytes:], data)
		r, _ := readerOf(t, b)
		defer r.Close()
		drained(t, r)
		drained(t, r)
	})
}

// TestLayout: the numbers in layout.go are those of the C header.
func TestLayout(t *testing.T) {
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("no C compiler")
	}
	source := filepath.Join(t.TempDir(), "layout.c")
	fields := []string{
		"magic", "version", "header", "size", "session", "started", "pid", "state", "flags", "cupti", "error", "text", "note",
		"library", "lost", "reserved", "records", "tail", "heartbeat", "stop", "moe_note",
	}
	program := "#include <stdio.h>\n#include <stddef.h>\n#include \"ring.h\"\nint main(void)\n{\n"
	for _, f := range fields {
		program += fmt.Sprintf("\tprintf(\"%%zu \", offsetof(struct pm_ring, %s));\n", f)
	}
	program += `	struct pm_ring *r = NULL;
	printf("%llu %d %d %u %u %zu %zu %d %d %d %d %d %d %d %d %u %u %u %u %u %u %d %llu", PM_RING_MAGIC, PM_RING_VERSION, PM_RING_HEADER,
		PM_RING_MIN, PM_RING_MAX, sizeof(r->text), sizeof(r->library), PM_LOSSES, PM_RING_STARTING, PM_RING_RUNNING, PM_RING_ENDED,
		PM_RING_QUIET, PM_RING_FAILED, PM_LOST_RECORD, PM_LOST_MOE, PM_RING_CALLS, PM_RING_WINDOWS, PM_RING_ALWAYS, PM_RING_NO_WINDOWS, PM_RING_MOE, PM_RING_COPIES_WINDOWS,
		PM_LOST_FULL, (unsigned long long)pm_ring_word(123456 * 8, 99));
}
`
	qt.Assert(t, qt.IsNil(os.WriteFile(source, []byte(program), 0o600)))
	binary := filepath.Join(t.TempDir(), "layout")
	out, err := exec.Command(cc, "-I", "inject/c", "-o", binary, source).CombinedOutput()
	qt.Assert(t, qt.IsNil(err), qt.Commentf("%s", out))
	out, err = exec.Command(binary).Output()
	qt.Assert(t, qt.IsNil(err))
	want := fmt.Sprint(offMagic, offVersion, offHeader, offSize, offSession, offStarted, offPID, offState, offFlags, offCUPTI, offError, offText, offNote,
		offLibrary, offLost, offReserved, offRecords, offTail, offHeartbeat, offStop, offMoENote,
		uint64(ringMagic), ringVersion, headerBytes, minRing, maxRing, textBytes, libraryBytes, losses,
		int(Starting), int(Running), int(Ended), int(Quiet), int(Failed), 5, lostMoE, flagCalls, flagWindows, flagAlways, flagNoWindows, flagMoE, flagCopiesInWindows, 0, word(123456*8, 99))
	qt.Assert(t, qt.Equals(string(out), want))
	qt.Assert(t, qt.Equals(len(strings.Fields(want)), len(fields)+23))
}
