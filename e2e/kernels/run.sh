#!/usr/bin/env bash
# run.sh NAME…: boots each kernel (e2e/setup/kernels.sh) in a virtual machine and tries pmtrace on it; what
# came out is in build/kernels/NAME. What was tried already and has not changed since is not tried again.
. "$(dirname "$0")/../setup/lib.sh"
cd "$(dirname "$0")/../.."

# What runs there: of the tests those that say whether something works, not how long it takes. Under software
# emulation all is some 10 times slower.
PROBES='^(TestShape|TestCallArguments|TestCallPhases|TestWorkerSteps|TestCallThreads|TestLookGraphs|TestHookCalls|TestHookLibrary|TestHookNamespaces|TestAttachAgain|TestSlotsTaken|TestNamespaces|TestTinyRing)$'
E2E='^(TestCUDA|TestRecordCUPTI)$'
LIMIT=2400 # s, each

out=build/kernels
work=$out/work
disk=$("$SETUP/guest.sh")
mkdir -p "$work/programs"

# The static programs and the files that their tests use.
static() { CGO_ENABLED=0 go "$@"; }
static build -trimpath -buildvcs=false -o "$work/programs/pmtrace" ./cmd/pmtrace
static test -trimpath -c -o "$work/programs/bpf.test" ./bpf
static test -trimpath -c -o "$work/programs/probes.test" ./probes
static test -trimpath -c -tags e2e -o "$work/programs/e2e.test" ./e2e
printf "PROBES='%s'\nE2E='%s'\n" "${PROBES_RUN:-$PROBES}" "${E2E_RUN:-$E2E}" >"$work/selection"
git ls-files -co --exclude-standard bpf/doc.go e2e/shape e2e/stub e2e/kernels/guest probes/testdata cupti/inject >"$out/files"
tar -c -f "$out/work.tar" --sort=name --mtime=@0 --owner=0 --group=0 -C . -T "$out/files" -C "$work" selection programs

# console NAME: how it boots, on the virtual machine's console.
boot() {
	local name=$1 from=$PMTRACE_CACHE/kernels/$1 to=$out/$1
	rm -rf "$to"
	mkdir -p "$to"
	truncate -s 256M "$to/results.img"
	timeout "$((LIMIT * 2))" qemu-system-x86_64 -accel tcg,thread=multi -cpu max,la57=off -smp 2 -m 3072 \
		-kernel "$from/vmlinuz" -initrd "$from/initrd" -append "console=ttyS0 panic=-1 loglevel=4 mitigations=off" \
		-display none -monitor none -serial "file:$to/console.txt" -nic none -no-reboot \
		-drive "file=$disk,if=virtio,format=raw,snapshot=on" \
		-drive "file=$out/work.tar,if=virtio,format=raw,readonly=on" \
		-drive "file=$to/results.img,if=virtio,format=raw" </dev/null || say "$name: the virtual machine ended with $?"
	tar -x -f "$to/results.img" -C "$to" 2>/dev/null || :
	rm -f "$to/results.img"
	grep -q '^guest: done' "$to/console.txt"
}

for name; do
	"$SETUP/kernels.sh" "$name" >/dev/null
	key=$(cat "$out/work.tar" "$PMTRACE_CACHE/kernels/$name/release" "$PMTRACE_CACHE/stamp/guest" | sha256sum)
	[ "$(cat "$out/$name/key" 2>/dev/null)" != "$key" ] || { say "kernel $name: tried already"; continue; }
	say "kernel $name: $(cat "$PMTRACE_CACHE/kernels/$name/release")"
	boot "$name" || { say "kernel $name: it did not get to its end: $out/$name/console.txt"; tail -5 "$out/$name/console.txt" >&2; continue; }
	cp "$PMTRACE_CACHE/kernels/$name/release" "$out/$name/origin"
	date -u +%F >"$out/$name/date"
	grep '^guest:' "$out/$name/console.txt" >&2
	echo "$key" >"$out/$name/key"
done
