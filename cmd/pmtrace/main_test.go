//go:build !testscript

package main

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	maybeFakeServer()
	os.Exit(m.Run())
}
