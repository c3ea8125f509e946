// Package hook knows functions that the user names: how they are written, and where
// they are in a process. It only reads.
package hook
