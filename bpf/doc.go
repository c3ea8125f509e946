// Package bpf is the wire: the BPF programs, their headers, and the Go types
// and objects generated from them. It knows nothing of libraries or of vLLM.
//
// event.h says what comes out of the ring buffer, config.h and calls.h what the
// programs are told, python.h how they read CPython's objects.
package bpf

// One pinned clang makes the objects (make generate); they are committed, so
// that a build needs none.
//
//go:generate go tool bpf2go -cc clang-bpf -strip bpf-strip -target bpfel -go-package bpf -cflags "-O2 -g -mcpu=v3 -Wall -Wextra -Wpadded -Werror -Wno-unused-parameter" -type pm_engine -type pm_python -type pm_attr -type pm_op -type pm_probe -type pm_reason -type pm_values -type pm_storage -type pm_op_blocks -type pm_kv_op -type pm_kind -type pm_queue -type pm_routed_place Scheduler scheduler.bpf.c
//go:generate go tool bpf2go -cc clang-bpf -strip bpf-strip -target bpfel -go-package bpf -cflags "-O2 -g -mcpu=v3 -Wall -Wextra -Wpadded -Werror -Wno-unused-parameter" -type pm_worker -type pm_call_losses -type pm_python -type pm_state -type pm_code_key -type pm_code -type pm_thread -type pm_row -type pm_phase -type pm_place -type pm_reason -type pm_machine -type pm_kind Cuda cuda.bpf.c
//go:generate go tool bpf2go -cc clang-bpf -strip bpf-strip -target bpfel -go-package bpf -cflags "-O2 -g -mcpu=v3 -Wall -Wextra -Wpadded -Werror -Wno-unused-parameter" -type pm_hook -type pm_hook_arg -type pm_hook_step -type pm_hook_state -type pm_python -type pm_value Hooks hooks.bpf.c
