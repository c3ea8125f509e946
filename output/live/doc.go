// Package live folds a session's rows into what monitoring wants: totals since the
// session began, as one table of metrics that all exporters walk (Totals), and the figures
// of its last seconds (Recent). Rows come from the pipeline as they are made, or from a
// session's tables afterwards: the totals are the same.
//
// It is pure and its memory bounded: no clock, no files, and a number of series and
// samples that does not grow with the session.
package live
