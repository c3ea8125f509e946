// Package probes puts watches on an engine's thread: it tells the BPF programs
// what to read, attaches them through hardware breakpoints, drains the ring
// buffer and counts what was lost. What a record means it does not know.
package probes
