package main

// checkLosses: nothing may be lost at a server's own pace.
func checkLosses(t *table, in *input) {
	lost := t.add("losses: none in the table", 0, int64(0))
	n := int64(0)
	for i := range in.session.losses {
		l := &in.session.losses[i]
		n += l.Count
		lost.miss("%s: %s: %d", l.Probe, l.Reason, l.Count)
	}
	lost.got = word(n)
	counters := t.add("losses: none by the counters", 0, 0)
	sum := uint64(0)
	for _, l := range in.session.facts.Losses {
		if l.Lost && l.Count > 0 {
			sum += l.Count
			counters.miss("%s: %s: %d", l.Probe, l.Reason, l.Count)
		}
	}
	counters.got = word(sum)
}
