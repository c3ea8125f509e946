package hook

import (
	"cmp"
	"slices"
	"strings"
)

// maxNear is how many names are offered in place of one that is not there.
const maxNear = 3

// near gives the names that are most like one, best first.
func near(name string, names []string) []string {
	type scored struct {
		name string
		cost int
	}
	var list []scored
	low := strings.ToLower(name)
	for _, n := range names {
		other := strings.ToLower(n)
		cost := distance(low, other)
		if strings.Contains(other, low) || strings.Contains(low, other) && len(other) > 3 {
			cost = min(cost, 2)
		}
		if cost <= max(2, len(name)/3) {
			list = append(list, scored{n, cost})
		}
	}
	slices.SortFunc(list, func(a, b scored) int { return cmp.Or(cmp.Compare(a.cost, b.cost), cmp.Compare(a.name, b.name)) })
	var out []string
	for _, s := range list[:min(len(list), maxNear)] {
		out = append(out, s.name)
	}
	return slices.Compact(out)
}

// distance is Levenshtein's: how many letters must be put in, left out or changed.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost = 1 + min(before, row[j], row[j+1])
			}
			before, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

func offer(names []string) string {
	if len(names) == 0 {
		return "pmtrace hook list shows what there is"
	}
	return "there is " + strings.Join(names, ", ")
}
