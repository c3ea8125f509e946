package check

import "fmt"

// wantBytes of room: a session of an hour at 200 steps/s is far below this.
const wantBytes = 1 << 30

func outputFinding(m Machine, dir string) Finding {
	f := Finding{ID: "output_dir", Name: "output directory", Needed: "write access, 1 GiB free"}
	free, err := m.Writable(dir)
	switch {
	case err != nil:
		return f.fail(err.Error(), "name a directory that can be written to with --output-dir")
	case free < wantBytes:
		return f.warn(fmt.Sprintf("%s: %d MiB free", dir, free>>20), "make room, or name another place with --output-dir")
	}
	return f.ok(fmt.Sprintf("%s: %.1f GiB free", dir, float64(free)/(1<<30)))
}

func targetFindings(m Machine, t Target) []Finding {
	memory := Finding{ID: "target_memory", Name: "reading the process", Needed: "ptrace access", PID: t.PID}
	slots := Finding{ID: "target_slots", Name: "the hardware breakpoints of its main thread", Needed: "4 free on the engine's main thread", PID: t.PID}
	out := []Finding{namespaceFinding(t)}
	if err := m.Peek(t.PID); err != nil {
		return append(out, memory.fail(err.Error(), "run it with sudo; in a container, in the host's PID namespace (docker run --pid=host)"))
	}
	out = append(out, memory.ok("works"))
	for _, tid := range t.Threads {
		out = append(out, slotsFinding(m, slots, tid))
	}
	return out
}

func namespaceFinding(t Target) Finding {
	f := Finding{ID: "target_namespaces", Name: "its namespaces", Needed: "any that we can see into", PID: t.PID}
	found := "ours"
	switch {
	case t.Container != "":
		found = "container " + t.Container[:min(12, len(t.Container))]
	case t.OtherPIDs || t.OtherMounts || t.OtherUsers:
		found = "other ones"
	}
	return f.ok(found)
}
