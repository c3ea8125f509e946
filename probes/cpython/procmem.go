package cpython

import (
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// iovMax is the kernel's UIO_MAXIOV: more entries in one call give EINVAL.
const iovMax = 1024

// ProcMem is a live process read with process_vm_readv. It needs the ptrace
// access mode (same user, or CAP_SYS_PTRACE), but does not attach.
type ProcMem struct{ pid int }

// ProcessMemory gives the memory of pid. It fails only when read.
func ProcessMemory(pid int) *ProcMem { return &ProcMem{pid: pid} }

// ReadAt fills buf from addr. The error is the errno: ESRCH after the process
// has ended, EFAULT where nothing is mapped, EPERM without the right.
func (m *ProcMem) ReadAt(addr uint64, buf []byte) error {
	if len(buf) == 0 {
		return nil
	}
	local := []unix.Iovec{{Base: &buf[0]}}
	local[0].SetLen(len(buf))
	remote := []unix.RemoteIovec{{Base: uintptr(addr), Len: len(buf)}}
	n, err := unix.ProcessVMReadv(m.pid, local, remote, 0)
	if err != nil {
		return fmt.Errorf("process_vm_readv pid %d: %w", m.pid, err)
	}
	if n != len(buf) {
		return fmt.Errorf("process_vm_readv pid %d: %d of %d bytes: %w", m.pid, n, len(buf), io.ErrUnexpectedEOF)
	}
	return nil
}

// ReadMulti reads up to 1024 places a system call. The kernel stops at the
// first place that it cannot read; that one gets the error, and the next call
// goes on behind it.
func (m *ProcMem) ReadMulti(reqs []ReadRequest) {
	local := make([]unix.Iovec, 0, min(len(reqs), iovMax))
	remote := make([]unix.RemoteIovec, 0, min(len(reqs), iovMax))
	for len(reqs) > 0 {
		batch := reqs[:min(len(reqs), iovMax)]
		local, remote = local[:0], remote[:0]
		for i := range batch {
			if len(batch[i].Buf) == 0 {
				continue
			}
			v := unix.Iovec{Base: &batch[i].Buf[0]}
			v.SetLen(len(batch[i].Buf))
			local = append(local, v)
			remote = append(remote, unix.RemoteIovec{Base: uintptr(batch[i].Addr), Len: len(batch[i].Buf)})
		}
		n, err := unix.ProcessVMReadv(m.pid, local, remote, 0)
		if err != nil {
			n = 0
		}
		done := markRead(batch, n)
		if done < len(batch) {
			// Alone, it gets its own errno, or is read after all.
			batch[done].Err = m.ReadAt(batch[done].Addr, batch[done].Buf)
			done++
		}
		reqs = reqs[done:]
	}
}

// markRead clears Err of the requests that n bytes filled and counts them.
func markRead(batch []ReadRequest, n int) int {
	for i := range batch {
		if len(batch[i].Buf) > n {
			return i
		}
		n -= len(batch[i].Buf)
		batch[i].Err = nil
	}
	return len(batch)
}
