// Package target knows the servers that run on this machine: which processes
// make one vLLM server, what each of them does, where its files lie as seen
// from here, and when it ends. It runs nothing, stops nothing and writes
// nothing; what it reads in /proc is other people's, so every read is bounded
// and a process that went away is an error of its own kind.
package target
