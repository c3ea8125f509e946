// Package findings says what slows a server down and what to change, from the
// tables of a session: each finding by a rule of its own (rules.go), with what it
// costs and the figures that say so. Nothing is guessed: a rule whose figures are
// missing finds nothing.
package findings
