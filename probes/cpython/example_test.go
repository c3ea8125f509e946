package cpython

import (
	"encoding/json"
	"fmt"
	"os"
)

// From a process (here a recording of one) to the place to watch in the
// function that a frame runs, and to an attribute of its self.
func Example() {
	mem, img := recorded("3.12") // for a live one: Open(pid, Options{})
	r, err := OpenMemory(mem, img, Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	interp, _ := r.MainInterpreter()
	threads, _ := r.Threads(interp)
	frame, code, err := r.FindFrame(threads[0], 3, func(_ Frame, c Code) bool { return c.Name == "run_busy_loop" })
	if err != nil {
		fmt.Println(err)
		return
	}
	positions, _ := r.Positions(code)
	fmt.Println(r.Version(), code.Qualname, code.LocalNames)
	fmt.Println("entry at unit", positions.Entry.Index)
	for _, ret := range positions.Returns {
		fmt.Println("returns at unit", ret.Index)
	}
	flag, _ := r.LocalByName(frame, code, "flag")
	text, _ := r.Str(flag)
	fmt.Println("flag:", text)
	// Output:
	// 3.12.1 Engine.run_busy_loop [self flag]
	// entry at unit 0
	// returns at unit 20
	// flag: in the loop
}

func recorded(minor string) (Memory, Image) {
	s := new(session)
	mem, meta := s.paths(minor)
	f, err := os.Open(mem)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	rec, err := ReadRecording(f)
	if err != nil {
		panic(err)
	}
	b, err := os.ReadFile(meta)
	if err != nil {
		panic(err)
	}
	if err := json.Unmarshal(b, s); err != nil {
		panic(err)
	}
	return rec, s.Image
}
