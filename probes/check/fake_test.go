package check

import (
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
)

// fake is a machine on which all is well unless a test says otherwise.
type fake struct {
	files         map[string]string
	release, arch string
	euid          int
	memlock       uint64
	slots         map[int]int // by thread; 4 where not named
	slotsErr      error
	bpf           map[Feature]error
	watchErr      error
	hits          int
	each          time.Duration
	peek          error
	writable      error
	free          uint64
	tried         []Feature
}

// lack has a feature of BPF fail.
func (f *fake) lack(feature Feature, err error) {
	if f.bpf == nil {
		f.bpf = map[Feature]error{}
	}
	f.bpf[feature] = fmt.Errorf("x: %w", err)
}

// old is a kernel without some features.
func (f *fake) old(release string, without ...Feature) {
	f.release = release
	for _, feature := range without {
		f.lack(feature, ebpf.ErrNotSupported)
	}
}

const allCaps = 1<<capBPF | 1<<capPerfmon | 1<<capSysPtrace | 1<<capDACReadSearch

func healthy() *fake {
	return &fake{
		files: map[string]string{
			btfFile:                                "",
			uprobeType:                             "9\n",
			"/proc/self/status":                    status(allCaps, 0, 0),
			"/proc/self/uid_map":                   "         0          0 4294967295\n",
			"/proc/sys/kernel/perf_event_paranoid": "2\n",
		},
		release: "6.8.0-45-generic", arch: "x86_64", memlock: 8 << 20, hits: watchWrites, free: 10 << 30,
	}
}

func status(caps uint64, noNewPrivs, seccomp int) string {
	return fmt.Sprintf("Name:\tpmtrace\nCapEff:\t%016x\nNoNewPrivs:\t%d\nSeccomp:\t%d\n", caps, noNewPrivs, seccomp)
}

func (f *fake) Read(name string) ([]byte, error) {
	s, ok := f.files[name]
	if !ok {
		return nil, os.ErrNotExist
	}
	return []byte(s), nil
}

func (f *fake) Exists(name string) bool {
	_, ok := f.files[name]
	return ok
}

func (f *fake) Uname() (release, arch string)   { return f.release, f.arch }
func (f *fake) EUID() int                       { return f.euid }
func (f *fake) Memlock() (uint64, error)        { return f.memlock, nil }
func (f *fake) Peek(int) error                  { return f.peek }
func (f *fake) Writable(string) (uint64, error) { return f.free, f.writable }

func (f *fake) BPF(feature Feature) error {
	f.tried = append(f.tried, feature)
	return f.bpf[feature]
}

func (f *fake) Watch(int) (int, time.Duration, error) {
	return f.hits, f.each, f.watchErr
}

func (f *fake) FreeSlots(tid int) (int, error) {
	if n, ok := f.slots[tid]; ok {
		return n, f.slotsErr
	}
	return 4, f.slotsErr
}
