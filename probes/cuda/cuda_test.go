package cuda

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

func TestNames(t *testing.T) {
	for name, kind := range map[string]Kind{
		"/usr/lib/libcuda.so.1":                                  Driver,
		"/usr/lib/libcuda.so.580.159.04":                         Driver,
		"/venv/nvidia/cu13/lib/libcudart.so.13":                  Runtime,
		"/venv/torch/lib/libcudart-d0da41ae.so.11.0":             Runtime,
		"/venv/torchvision.libs/libcudart.faf08d9a.so.13":        Runtime,
		"/venv/nvidia/nccl/lib/libnccl.so.2":                     NCCL,
		"/opt/libcudart.so.13 (deleted)":                         Runtime,
		"/venv/torch/lib/libtorch_cuda.so":                       "",
		"/usr/lib/libcudadebugger.so.1":                          "",
		"/usr/lib/libcudart_static.a":                            "",
		"/usr/lib/libnccl-net.so":                                "",
		"/venv/nvidia/cu13/lib/libcudart.so.13.extra/some/other": "",
	} {
		m, _ := isCUDA(name)
		qt.Check(t, qt.Equals(m.kind, kind), qt.Commentf("%s", name))
		qt.Check(t, qt.Equals(m.isGone, strings.Contains(name, "deleted")))
	}
}

func TestParseMaps(t *testing.T) {
	const maps = `7f0000000000-7f0000001000 r--p 00000000 08:01 100 /v/lib/libcudart.so.13
7f0000001000-7f0000002000 r-xp 00001000 08:01 100 /v/lib/libcudart.so.13
7f0000003000-7f0000004000 r-xp 00001000 08:01 101                        /v/with a space/libcudart.so.13
7f0000005000-7f0000006000 rw-p 00000000 00:00 0 
7f0000007000-7f0000008000 rw-p 00000000 00:00 0 [heap]
garbage /v/libcuda.so.1
zz-7f0000008000 rw-p 00000000 00:00 7 /v/libcuda.so.1
`
	got, err := parseMaps(1, strings.NewReader(maps), isCUDA)
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.HasLen(got, 2))
	qt.Assert(t, qt.Equals(got[0].inode, 100))
	qt.Assert(t, qt.Equals(got[0].start, 0x7f0000000000))
	qt.Assert(t, qt.Equals(got[1].path, "/v/with a space/libcudart.so.13"))
}

// Which copy of libcudart is taken.
func TestChoose(t *testing.T) {
	const (
		wheel   = "/v/nvidia/cu13/lib/libcudart.so.13"
		bundle  = "/v/torchvision.libs/libcudart.faf08d9a.so.13"
		toolkit = "/usr/local/cuda/lib64/libcudart.so.13"
		old     = "/usr/local/cuda-12/lib64/libcudart.so.12"
		hashed  = "/v/torch/lib/libcudart-d0da41ae.so.11.0"
		driver  = "/usr/lib/libcuda.so.1"
	)
	sonames := map[string]string{wheel: "libcudart.so.13", bundle: "libcudart.so.13", toolkit: "libcudart.so.13", old: "libcudart.so.12", hashed: "libcudart.so.11.0"}
	for _, test := range []struct {
		name   string
		mapped []string
		needed []string
		want   []string
	}{
		{"one", []string{wheel, driver}, nil, []string{wheel, driver}},
		{"torchvision's", []string{bundle, wheel}, []string{"libcudart.so.13"}, []string{wheel}},
		{"only torchvision's", []string{bundle}, nil, []string{bundle}},
		{"another version", []string{old, wheel}, []string{"libc.so.6", "libcudart.so.13"}, []string{wheel}},
		{"torch's own", []string{hashed, old}, []string{"libcudart-d0da41ae.so.11.0"}, []string{hashed}},
		{"same version twice", []string{toolkit, wheel}, []string{"libcudart.so.13"}, []string{wheel}},
		{"nothing known", []string{old, toolkit}, nil, []string{old, toolkit}},
		{"none", []string{driver}, nil, []string{driver}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var libs []Library
			for _, p := range test.mapped {
				m, _ := isCUDA(p)
				libs = append(libs, Library{Path: p, Kind: m.kind})
			}
			choose(libs, func() []string { return test.needed }, func(l Library) string { return sonames[l.Path] })
			var got []string
			for _, l := range libs {
				if l.Skipped == "" {
					got = append(got, l.Path)
				}
			}
			qt.Assert(t, qt.DeepEquals(got, test.want))
		})
	}
}

// A library whose tables claim to be huge is refused before they are read.
func TestHugeTables(t *testing.T) {
	var b bytes.Buffer
	head := elf.Header64{Shoff: 64, Shentsize: 64, Shnum: 1, Ehsize: 64, Version: 1, Type: uint16(elf.ET_DYN)}
	copy(head.Ident[:], elf.ELFMAG)
	head.Ident[elf.EI_CLASS], head.Ident[elf.EI_DATA], head.Ident[elf.EI_VERSION] = 2, 1, 1
	qt.Assert(t, qt.IsNil(binary.Write(&b, binary.LittleEndian, head)))
	qt.Assert(t, qt.IsNil(binary.Write(&b, binary.LittleEndian, elf.Section64{Type: uint32(elf.SHT_STRTAB), Size: 1 << 40})))
	name := filepath.Join(t.TempDir(), "libcuda.so.1")
	qt.Assert(t, qt.IsNil(os.WriteFile(name, b.Bytes(), 0o600)))
	f, err := os.Open(name)
	qt.Assert(t, qt.IsNil(err))
	defer f.Close()
	_, err = readELF(f)
	qt.Assert(t, qt.ErrorIs(err, errTooLarge))
}

// What no library is: a FIFO, a device, a text.
func TestNotAPlainFile(t *testing.T) {
	m := mapped{pid: os.Getpid(), path: "/dev/null"}
	_, err := m.openInside()
	qt.Assert(t, qt.ErrorMatches(err, ".*no plain file"))
	text := filepath.Join(t.TempDir(), "libcuda.so.1")
	qt.Assert(t, qt.IsNil(os.WriteFile(text, []byte("no ELF"), 0o600)))
	_, err = Library{Path: text, file: mapped{pid: os.Getpid(), path: text, inode: 1}}.Open(func(string) bool { return true })
	qt.Assert(t, qt.IsNotNil(err))
}

// Names of one function, and a library that is replaced while it is mapped.
func TestFunctions(t *testing.T) {
	cc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("no C compiler")
	}
	dir := t.TempDir()
	source := filepath.Join(dir, "lib.c")
	qt.Assert(t, qt.IsNil(os.WriteFile(source, []byte(`
int cudaGraphInstantiate(void) { return 1; }
int cudaGraphInstantiateWithFlags(void) __attribute__((alias("cudaGraphInstantiate")));
int other(void) { return 2; }
int cudaFree = 3;
extern int cudaMalloc(void);
int use(void) { return cudaMalloc(); }
`), 0o600)))
	lib := filepath.Join(dir, "libcudart.so.13")
	out, err := exec.Command(cc, "-shared", "-fPIC", "-o", lib, source).CombinedOutput()
	qt.Assert(t, qt.IsNil(err), qt.Commentf("%s", out))

	m := mapped{pid: os.Getpid(), path: lib}
	f, err := os.Open(lib)
	qt.Assert(t, qt.IsNil(err))
	m.inode = inode(f)
	f.Close()
	fs, err := Library{Path: lib, Kind: Runtime, file: m}.Open(func(name string) bool { return strings.HasPrefix(name, "cuda") })
	qt.Assert(t, qt.IsNil(err))
	defer fs.Close()
	qt.Assert(t, qt.HasLen(fs.Offsets("cudaGraphInstantiate"), 1))
	qt.Assert(t, qt.DeepEquals(fs.Offsets("cudaGraphInstantiate"), fs.Offsets("cudaGraphInstantiateWithFlags")))
	qt.Assert(t, qt.HasLen(fs.Offsets("cudaFree"), 0))
	qt.Assert(t, qt.HasLen(fs.Offsets("cudaMalloc"), 0))
	qt.Assert(t, qt.HasLen(fs.Offsets("other"), 0))
	linked, err := os.Readlink(fs.Path())
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.Equals(linked, lib))
}
