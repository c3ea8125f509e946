// Package compare says in what two sets of sessions differ, and whether that is more
// than chance. A session becomes a Run: sums and histograms by blocks of time, in
// bounded memory. With several runs a side a run is the unit of the statistics, with
// one a side the blocks are. The same sessions give the same answer: what is drawn at
// random is drawn from a fixed seed.
package compare
