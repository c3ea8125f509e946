package report

import (
	"math/bits"
	"slices"
)

// baseline knows how long steps with decodes alone took lately, by batch size and
// by how their time was got.
type baseline struct {
	recent map[kin]*[]int64
}

type kin struct {
	size   int // sizes within a quarter of each other are alike
	source string
}

const recentSteps = 9

func alike(requests int32) int {
	n := uint32(max(requests, 1)) << 2
	length := bits.Len32(n)
	return length<<2 | int(n>>(length-3)&3)
}

func (b *baseline) add(s *step) {
	if s.source == "" || s.prefill != 0 || s.pure == 0 {
		return
	}
	key := kin{alike(s.pure), s.source}
	list := b.recent[key]
	if list == nil {
		list = new([]int64)
		if b.recent == nil {
			b.recent = map[kin]*[]int64{}
		}
		b.recent[key] = list
	}
	if len(*list) == recentSteps {
		*list = slices.Delete(*list, 0, 1)
	}
	*list = append(*list, s.exec.to-s.exec.from)
}

// of is the median of the newest steps of as many decodes, or nearly; -1: there was
// none. A step of prompts alone would not have been without them.
func (b *baseline) of(s *step) int64 {
	if s.decodes == 0 {
		return -1
	}
	size := alike(s.decodes)
	for _, near := range [...]int{0, -1, 1, -2, 2} {
		if list := b.recent[kin{size + near, s.source}]; list != nil {
			return median(*list)
		}
	}
	return -1
}

// median is the lower one of an even number.
func median(list []int64) int64 {
	if len(list) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(list))
	return sorted[(len(sorted)-1)/2]
}
