# pmtrace: `make help` lists what there is to make.
#
# Everything that is needed and missing is installed by package name (apt, PyPI, the Go module
# proxy, Maven Central) under $(PMTRACE_CACHE); nothing is downloaded in any other way.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := build

XDG_CACHE_HOME ?= $(HOME)/.cache
export PMTRACE_CACHE ?= $(XDG_CACHE_HOME)/pmtrace
# A new enough go, installed where there is none; not for the goals that need none.
ifneq ($(filter-out help clean,$(or $(MAKECMDGOALS),build)),)
GO_DIR := $(shell e2e/setup/go.sh)
endif
export PATH := $(PMTRACE_CACHE)/bin:$(GO_DIR):$(PATH)

# The version of a release; without one a build says the commit that it is of.
RELEASE ?=
LDFLAGS := -s -w $(if $(RELEASE),-X main.release=$(RELEASE))
# Without grpc's own pages about its calls, whose templates keep the linker from leaving out
# methods that nothing calls: a sixth of the binary.
TAGS := grpcnotrace
# NVIDIA's header marks as deprecated what go-nvml binds.
export CGO_CFLAGS ?= -O2 -g -Wno-deprecated-declarations
# It needs its symbols bound when they are called: older drivers lack some.
export CGO_LDFLAGS ?= -O2 -g -Wl,-z,lazy
PREFIX ?= /usr/local
FUZZTIME ?= 30s
VLLM ?= 0.32.0
VLLM_OLD ?= 0.17.1

STEP := e2e/step.sh
# Tests that trace other processes need root: compiled as the user, run by sudo.
ROOT := $(if $(filter 0,$(shell id -u)),,sudo -E env "PATH=$(PATH)" "HOME=$(HOME)")
ROOT_TESTS := ./bpf/... ./probes/...
PURE_TESTS = $(shell go list ./... | grep -vE '/(bpf|probes)(/|$$)|/e2e$$')

.PHONY: help kernels release check-release check-deploy setup-s3 setup-release setup-deploy build generate injection charts check-generated fmt lint lint-quick test test-pure test-root cross e2e e2e-quick matrix soak demo bench bench-comparison bench-calls bench-hooks fuzz fuzz-brief install clean setup setup-clang setup-cpython setup-vllm setup-vllm-old setup-lint setup-analysis setup-docs setup-perfetto setup-browser docs man

help: ## print this list
	@sed -nE 's/^([a-z0-9-]+):[^#]*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | awk -F'\t' '{ printf "%-16s %s\n", $$1, $$2 }'

# The driver's libraries (NVML, counters) are opened by dlopen, which a static binary
# cannot; STATIC=1 makes one that does without GPU samples.
build: ## ./pmtrace, one binary (STATIC=1: a static one, without GPU samples)
	@$(if $(STATIC),,. e2e/setup/lib.sh && has gcc gcc libc6-dev)
	CGO_ENABLED=$(if $(STATIC),0,1) go build -tags '$(TAGS)' -trimpath -ldflags '$(LDFLAGS)' -o pmtrace ./cmd/pmtrace

generate: setup-clang setup-cpython ## make the committed generated files again, with the pinned clang
	@$(STEP) "go generate" go generate ./...

injection: ## make libpmtrace_cupti.so again, if its sources have changed (gcc)
	@. e2e/setup/lib.sh && has gcc gcc libc6-dev
	@$(STEP) "libpmtrace_cupti.so" cupti/inject/build.sh

charts: ## bring the report's chart library (uPlot, pinned) from npm again
	@. e2e/setup/lib.sh && has npm npm && has openssl openssl
	@$(STEP) "uPlot" output/page/assets/uplot/fetch.sh

man: build ## build/man and build/completions: the manual's pages, completions for bash, zsh and fish, of the commands as they are
	@mkdir -p build/completions
	./pmtrace man build/man
	for shell in bash zsh fish; do ./pmtrace completion $$shell >build/completions/pmtrace.$$shell; done

docs: setup-docs ## write anew what the examples of docs/ and the README print, and the plots, of recorded sessions
	go test ./cmd/pmtrace -count=1 -run TestDocExamples -update-docs

check-generated: setup-clang setup-cpython ## fail unless the committed generated files are what the sources make
	@$(STEP) "generated files are up to date" e2e/check-generated.sh

fmt: setup-clang ## format Go and C
	gofmt -w $$(git ls-files -co --exclude-standard -- '*.go')
	clang-format -i $$(git ls-files -co --exclude-standard -- '*.c' '*.h')

lint-quick: setup-clang
	@$(STEP) "formatting, go vet, shellcheck" e2e/lint.sh quick

# RELEASE is the version, RELEASE_KEY a key of gpg to sign SHA256SUMS with (none: not signed).
export RELEASE_KEY ?=
release: setup-release ## dist/: tarball, .deb, .rpm, SBOM, checksums of RELEASE=vX.Y.Z (RELEASE_KEY=…: signed)
	@$(STEP) "release $(RELEASE)" deploy/release/release.sh "$(RELEASE)" dist

check-release: setup-release ## fail unless a release of HEAD is reproducible, installable and whole
	@$(STEP) "a release of HEAD" e2e/release.sh

check-deploy: setup-deploy ## what deploy/ holds, by the checkers of Docker, Kubernetes and systemd
	@$(STEP) "Dockerfile, DaemonSet, unit" e2e/deploy.sh

lint: setup-lint lint-quick ## go vet, golangci-lint, clang-format, shellcheck, govulncheck
	@$(STEP) "golangci-lint" e2e/lint.sh go
	@$(STEP) "known vulnerabilities" e2e/lint.sh vulnerabilities

test: ## set up what tests need and run them: pure, on real CPythons, and one run against a real vLLM
	@$(STEP) "build" $(MAKE) build
	@$(MAKE) lint-quick check-generated cross test-pure fuzz-brief test-root e2e-quick

cross: ## build and vet for arm64 (not run anywhere)
	@$(STEP) "arm64: build" env GOOS=linux GOARCH=arm64 CGO_ENABLED=0 go build ./...
	@$(STEP) "arm64: vet" env GOOS=linux GOARCH=arm64 CGO_ENABLED=0 go vet ./...

test-pure: setup-analysis setup-docs setup-perfetto setup-browser setup-s3 ## tests that need no privileges and no server
	@$(STEP) "go test: pure" go test $(PURE_TESTS)

test-root: setup-cpython ## tests on the kernel and on real CPythons 3.10 to 3.14 (root)
	@$(STEP) "go test: kernel and real CPythons" go test -count=1 $(if $(ROOT),-exec '$(ROOT)') $(ROOT_TESTS)

# The real servers are Go tests as well: e2e/e2e_test.go says what each selection holds.
E2E = env PMTRACE_E2E=$(1) PMTRACE_E2E_VLLM=$(2) go test -tags e2e -count=1 -timeout 45m -v $(if $(ROOT),-exec '$(ROOT)') ./e2e
e2e-quick: build setup-vllm setup-cpython setup-analysis ## one run against a real vLLM: everything compared with the server's own word
	@$(STEP) "end to end: vLLM $(VLLM), quick" $(call E2E,quick,$(VLLM))

e2e: build setup-vllm setup-vllm-old setup-cpython setup-analysis ## the whole truth table, against two versions of vLLM
	@$(STEP) "end to end: vLLM $(VLLM)" $(call E2E,full,$(VLLM))
	@$(STEP) "end to end: vLLM $(VLLM_OLD)" $(call E2E,full,$(VLLM_OLD))

# A cell takes three minutes (its version's first one, with the modes, fifteen), and 6 GB meanwhile.
VERSIONS ?=
PYTHONS ?=
matrix: build setup-cpython setup-analysis ## every vLLM on every CPython, against real servers, into e2e/matrix/RESULTS.md (VERSIONS=0.12.0,… PYTHONS=3.10,… MATRIX="-modes none -again …")
	@go build -o build/every ./e2e/matrix
	@$(STEP) "every vLLM on every CPython" $(ROOT) build/every $(if $(VERSIONS),-vllm $(VERSIONS)) $(if $(PYTHONS),-python $(PYTHONS)) $(MATRIX)

soak: build setup-vllm setup-cpython setup-analysis ## three simulated days, and an hour of a real server, into e2e/soak/RESULTS.md (SOAK="-only real -minutes 10")
	@go build -o build/soak-test ./e2e/soak
	@$(STEP) "endurance" $(ROOT) build/soak-test $(SOAK)

demo: build setup-vllm setup-analysis ## record a real vLLM under load and ask the tables three questions, and make the report
	@e2e/demo.sh $(VLLM)

bench: build setup-vllm setup-cpython ## what tracing costs, into e2e/bench/RESULTS.md (root; BENCH=-quick: a rough minute or two)
	@go build -o build/bench ./e2e/bench
	@$(STEP) "what tracing costs" $(ROOT) build/bench -vllm $(VLLM) $(BENCH)

bench-comparison: build setup-vllm ## what pmtrace and other tools cost a real server, in turn, into e2e/bench/COMPARISON.md (root)
	@e2e/setup/profilers.sh >/dev/null
	@go build -o build/bench ./e2e/bench
	@$(STEP) "pmtrace beside other tools" $(ROOT) build/bench -comparison -vllm $(VLLM) $(BENCH)

bench-calls: setup-cpython ## what each probed call of CUDA and NCCL costs, into e2e/bench/CALLS.md (root)
	@$(STEP) "what a probed call costs" $(ROOT) env PMTRACE_ROW_COSTS=$(CURDIR)/e2e/bench/CALLS.md go test -count=1 -timeout 30m -run TestRowCosts ./probes

bench-hooks: setup-cpython ## what a call of a function watched by --hook costs, into e2e/bench/HOOKS.md (root)
	@$(STEP) "what a watched function's call costs" $(ROOT) env PMTRACE_HOOK_COSTS=$(CURDIR)/e2e/bench/HOOKS.md go test -count=1 -timeout 30m -run TestHookCosts ./probes

# Each is booted in a virtual machine, and what was tried already is not tried again.
KERNELS ?= 5.10 5.15 6.1 6.8 6.12 newest
kernels: ## what works on distributions' kernels (KERNELS="5.10 6.1"), into e2e/kernels/RESULTS.md (some 10 min each)
	@$(STEP) "kernels $(KERNELS)" e2e/kernels/run.sh $(KERNELS)
	@go run ./e2e/kernels

fuzz: ## run each fuzz target for FUZZTIME (30s)
	@e2e/fuzz.sh $(FUZZTIME)

fuzz-brief: ## the fuzz targets for a second each
	@$(STEP) "fuzz targets, a second each" e2e/fuzz.sh 1s

# What each capability is for:
#   cap_bpf              load programs, create maps
#   cap_perfmon          breakpoints on threads of other users, and BPF on them
#   cap_sys_ptrace       read other users' memory (process_vm_readv) and /proc/PID/{maps,root,exe,environ}
#   cap_dac_read_search  open the interpreter's ELF files inside a container's root
# Who may run this can read any process here: only root and INSTALL_GROUP may.
INSTALL_GROUP ?= $(or $(SUDO_GID),$(shell id -g))
CAPS := cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search=ep
install: ## install to PREFIX/bin (/usr/local), runnable without root by INSTALL_GROUP (your own group)
	@test -x pmtrace || $(MAKE) build
	@. e2e/setup/lib.sh && PATH=$$PATH:/usr/sbin:/sbin has setcap libcap2-bin
	$(ROOT) install -d $(DESTDIR)$(PREFIX)/bin
	$(ROOT) install -m 0750 -g $(INSTALL_GROUP) pmtrace $(DESTDIR)$(PREFIX)/bin/pmtrace
	PATH=$$PATH:/usr/sbin:/sbin; $(ROOT) $$(command -v setcap) $(CAPS) $(DESTDIR)$(PREFIX)/bin/pmtrace

clean: ## remove what was built here (the cache stays: $(PMTRACE_CACHE))
	rm -rf pmtrace build dist bench/out
	@echo "everything set up for tests is in $(PMTRACE_CACHE); remove that by hand"

setup: setup-clang setup-cpython setup-vllm setup-vllm-old setup-lint setup-analysis setup-docs setup-perfetto setup-browser setup-s3 setup-release setup-deploy
setup-clang:
	@e2e/setup/clang.sh >/dev/null
setup-cpython:
	@e2e/setup/cpythons.sh >/dev/null
setup-vllm:
	@e2e/setup/vllm.sh $(VLLM) >/dev/null
	@e2e/setup/model.sh $(VLLM) >/dev/null
setup-vllm-old: setup-vllm
	@e2e/setup/vllm.sh $(VLLM_OLD) >/dev/null
setup-lint:
	@e2e/setup/lint.sh >/dev/null
setup-analysis:
	@e2e/setup/analysis.sh >/dev/null
setup-docs:
	@e2e/setup/docs.sh >/dev/null
setup-perfetto:
	@e2e/setup/perfetto.sh >/dev/null
setup-browser:
	@e2e/setup/browser.sh >/dev/null || [ $$? = 3 ] # its test skips then, and says so
setup-s3:
	@e2e/setup/s3.sh >/dev/null
setup-release:
	@e2e/setup/release.sh >/dev/null
setup-deploy:
	@e2e/setup/deploy.sh >/dev/null
