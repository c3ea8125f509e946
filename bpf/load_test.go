package bpf

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf"
)

// The kernel's verifier accepts the programs.
func TestLoad(t *testing.T) {
	var objs SchedulerObjects
	err := LoadSchedulerObjects(&objs, nil)
	var ve *ebpf.VerifierError
	if errors.As(err, &ve) {
		t.Fatalf("%+v", ve)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := objs.Close(); err != nil {
		t.Fatal(err)
	}
}
