package bpf

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// Before Linux 6.13 the verifier adds up what a chain of calls takes of the stack, each
// function's part rounded up to 32 bytes, and 512 are the limit. Kernels after it do not, so
// that one of them says nothing of the others.
func TestStackOfOldKernels(t *testing.T) {
	for name, load := range map[string]func() (*ebpf.CollectionSpec, error){
		"scheduler": LoadScheduler, "cuda": LoadCuda, "hooks": LoadHooks,
	} {
		for _, loop := range []string{"bpf_loop", "by_map"} {
			spec, err := load()
			verified(t, err)
			for _, p := range spec.Programs {
				t.Run(fmt.Sprint(name, "/", p.Name, "/", loop), func(t *testing.T) {
					bytes, chain := functions(p.Instructions).deepest(p.Name, loop)
					t.Logf("%d bytes: %s", bytes, chain)
					if bytes > 512 {
						t.Errorf("%d bytes of stack: %s", bytes, chain)
					}
				})
			}
		}
	}
}

type function struct {
	stack int
	calls map[string]bool // callbacks, too
}

type callGraph map[string]*function

func functions(ins asm.Instructions) callGraph {
	g := callGraph{}
	var f *function
	fp := map[asm.Register]bool{} // copies of the frame pointer
	for _, in := range ins {
		if in.Symbol() != "" {
			f = &function{calls: map[string]bool{}}
			g[in.Symbol()] = f
			clear(fp)
		}
		if in.IsFunctionReference() {
			f.calls[in.Reference()] = true
		}
		class := in.OpCode.Class()
		switch {
		case class.IsALU() && in.OpCode.ALUOp() == asm.Mov && in.OpCode.Source() == asm.RegSource:
			fp[in.Dst] = in.Src == asm.R10
		case class.IsALU() && in.OpCode.ALUOp() == asm.Add && in.OpCode.Source() == asm.ImmSource && fp[in.Dst]:
			f.stack = max(f.stack, int(-in.Constant))
			fp[in.Dst] = false
		case class.IsStore() && in.Dst == asm.R10, class.IsLoad() && in.Src == asm.R10:
			f.stack = max(f.stack, int(-in.Offset))
		}
	}
	return g
}

func (g callGraph) deepest(name, loop string) (bytes int, chain string) {
	f := g[name]
	for callee := range g[name].calls {
		_, twice := g[callee+"_by_map"]
		if g[callee] == nil || loop == "by_map" && twice || loop == "bpf_loop" && strings.HasSuffix(callee, "_by_map") {
			continue
		}
		if n, c := g.deepest(callee, loop); n > bytes {
			bytes, chain = n, " > "+c
		}
	}
	return bytes + max(32, (f.stack+31)/32*32), fmt.Sprint(name, " ", f.stack, chain)
}
