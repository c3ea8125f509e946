// Package render shows a session in the form of other tools: as a trace for
// Perfetto's UI. It reads a session's tables row by row and writes as it goes.
package render
