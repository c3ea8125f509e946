package live

// Bounds of histograms: times in ns.

// stepBounds are of what a scheduler's step does: 10 µs to 5 s, six a decade.
func stepBounds() []int64 { return decades(10_000, 5_000_000_000, 10, 15, 20, 30, 50, 70) }

// requestBounds are of what a request waits for: 1 ms to 500 s, four a decade.
func requestBounds() []int64 { return decades(1_000_000, 500_000_000_000, 10, 20, 30, 50) }

// countBounds are of tokens and requests: powers of two.
func countBounds(to int64) []int64 {
	var bounds []int64
	for b := int64(1); b <= to; b *= 2 {
		bounds = append(bounds, b)
	}
	return bounds
}

// decades are the multiples by tenths of each power of ten times from, up to to.
func decades(from, to int64, tenths ...int64) []int64 {
	var bounds []int64
	for ; ; from *= 10 {
		for _, t := range tenths {
			if b := from / 10 * t; b <= to {
				bounds = append(bounds, b)
			} else {
				return bounds
			}
		}
	}
}
