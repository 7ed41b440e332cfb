# The two commands are `make demo` and `make test`. Everything that they need and
# that this machine lacks is installed or built by them, once, under _out/.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS   += --no-print-directory

OUT     := $(CURDIR)/_out
VERSION := $(shell sed -n 's/^  version: "\(.*\)"/\1/p' manifest.yaml)
ARCHES  := amd64 arm64

export CGO_ENABLED ?= 0
# grpcnotrace leaves out gRPC's trace pages: with them come html/template and
# its reflection, and sriovd is 2.5 MB larger.
GOBUILD := go build -tags grpcnotrace -trimpath -buildvcs=false -ldflags "-s -w -buildid= -X main.version=$(VERSION)"

GO_SOURCES := $(shell find cmd pkg -name '*.go' -not -name '*_test.go' 2>/dev/null) $(shell find pkg -name '*.yaml' 2>/dev/null) go.mod go.sum

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: extension-root sriovctl ## Boot Talos with SR-IOV NICs in QEMU, patch its machine config, and give VFs to pods
	@test/lab/deps.sh
	@cd test/lab && go run ./cmd/lab demo

# Runs go test: a line for each package, and at the end what failed, with its output,
# what was skipped, and why. Its exit code is go test's.
TESTSUM := $(OUT)/tools/gotestsum
# The skipped tests of several runs, with their reasons, as the summaries list them.
# Not awk alone: Debian's reads a pipe by the block, and the lab has a line a minute.
SKIPS      := $(OUT)/skipped.txt
KEEP_SKIPS := tee >(awk -v skips=$(SKIPS) '/^=== Skipped$$/ { s = 1; next } \
	/^=== (Failed|Errors)$$|^DONE / { s = 0 } s && NF { print >> skips }')

# RECORD is TESTSUM with a record of each test and its time, under a name.
RECORDS := $(OUT)/tests
RECORD   = mkdir -p $(RECORDS) && $(TESTSUM) --jsonfile $(RECORDS)/$(1).json

.PHONY: records-reset
records-reset:
	@mkdir -p $(OUT) && : >$(SKIPS) && rm -rf $(RECORDS)

.PHONY: test
test: records-reset deps lint unit guard fuzz lab ## Linters, unit tests with -race, guards, fuzzing, the lab
	@echo "make test: $$(cat $(RECORDS)/*.json | grep -c '"Action":"pass".*"Test":') tests passed, subtests counted; the slowest:"
	@cat $(RECORDS)/*.json | $(TESTSUM) tool slowest --threshold 20s --num 12
	@echo "make test: $$(grep -c '^=== SKIP:' $(SKIPS)) tests were skipped"; cat $(SKIPS)
	@echo "make test: all passed"

# Many packages wait more than they compute: more of them at a time than processors.
# go vet has seen all of it. Most tests are short and make many small files: they take
# less with the files in memory and a rarer garbage collection.
.PHONY: check
check: ## The quick loop, about a minute: go vet, and every unit test with -short, without -race or builds
	@go vet -tags guard ./...
	@export GOGC=$${GOGC:-400}; \
		if room=$$(df -k --output=avail /dev/shm 2>/dev/null | tail -1) && (( room > 1000000 )); then export TMPDIR=/dev/shm; fi; \
		go test -short -vet=off -p 4 ./...

.PHONY: guard
guard: $(TESTSUM) ## The repository's own rules, with what builds: binaries' size, workstations, the image
	@$(call RECORD,guard) -- -timeout 30m -tags guard ./hack/... | $(KEEP_SKIPS)

.PHONY: deps
deps:
	@test/lab/deps.sh

.PHONY: lint
lint: $(OUT)/tools/golangci-lint ## go vet, staticcheck and the project's own bans
	@$(OUT)/tools/golangci-lint run ./...
	@cd test/lab && $(OUT)/tools/golangci-lint run --config ../../.golangci-lab.yml ./...
	@cd test/differential && $(OUT)/tools/golangci-lint run --config ../../.golangci-lab.yml ./...
	@for v in $(CONTRACTS); do (cd $$v && $(OUT)/tools/golangci-lint run --config ../../../.golangci-lab.yml ./...); done

$(OUT)/tools/golangci-lint: PACKAGE := github.com/golangci/golangci-lint/v2/cmd/golangci-lint
$(OUT)/tools/gotestsum: PACKAGE := gotest.tools/gotestsum
$(OUT)/tools/%: hack/tools/go.mod hack/tools/go.sum
	@echo "tools: building $*"
	@mkdir -p $(@D)
	@cd hack/tools && go build -trimpath -buildvcs=false -o $@ $(PACKAGE)

# One module for each Talos version that a node may have. The patches are outside
# of these modules, so go test must not take an old result for the current one.
CONTRACTS := $(wildcard test/contracts/talos-*)

.PHONY: unit
unit: $(TESTSUM) ## Unit tests with -race, long crash walks and stress; differential and contract tests
	@export CGO_ENABLED=1; $(call RECORD,unit) -- -race ./... | $(KEEP_SKIPS)
	@go test ./pkg/apply -run Converges -rapid.checks=10000
	@go test ./pkg/apply -run CrashWalk -v | grep -E 'points|^(ok|FAIL|---)'
	@go test ./pkg/ledger -run Explore -v | grep -E 'states|^(ok|FAIL|---)'
	@$(MAKE) stress
	@$(MAKE) bench BENCHTIME=1x BENCHSKIP=BenchmarkIdle | grep -E '^(ok|FAIL|---|panic)'
	@cd test/differential && export CGO_ENABLED=1 && $(call RECORD,differential) -- -race ./... | $(KEEP_SKIPS)
	@for v in $(CONTRACTS); do (cd $$v && $(call RECORD,$$(basename $$v)) -- -count=1 ./...) | $(KEEP_SKIPS); done
	@cd test/lab && export CGO_ENABLED=1 && $(call RECORD,lab-unit) -- -race $$(go list ./... | grep -v -e /e2e) | $(KEEP_SKIPS)

# How long the stress test of the whole agent runs, and with how many PFs (none: 1 to
# 12, another number in each round). Its output has the seed of its random numbers:
# SRIOV_STRESS_SEED= repeats it.
STRESS ?= 3m
.PHONY: stress
stress: ## The whole agent under everything that happens on a node, for STRESS (PFS=number of PFs)
	@CGO_ENABLED=1 SRIOV_STRESS=$(STRESS) SRIOV_STRESS_PFS=$(PFS) go test -race ./pkg/agent -run 'TestStress$$' -count=1 -timeout 90m -v | grep -vE '^=== '

.PHONY: differential
differential: ## Compare with a built SR-IOV network device plugin (SRIOVDP=path, as root)
	@test -n "$(SRIOVDP)" || { echo "differential: SRIOVDP must name a built sriovdp" >&2; exit 1; }
	@cd test/differential && SRIOVDP=$(abspath $(SRIOVDP)) go test -count=1 -v -run 'Differential|Cases' .

BENCHTIME ?= 20x
BENCHSKIP ?= ^$$
.PHONY: bench
bench: ## The benchmarks, each with its goal; SRIOVCNI=path compares the CNI plugin with that program
	@TMPDIR=$$(if [ -d /dev/shm ]; then echo /dev/shm; else echo /tmp; fi) \
		go test ./pkg/agent ./pkg/deviceplugin ./pkg/inventory ./pkg/pool -p 1 -run '^$$' -bench . -benchtime $(BENCHTIME) -skip '$(BENCHSKIP)'
	@$(if $(SRIOVCNI),$(MAKE) bench-cni,echo "bench: for the CNI plugin give SRIOVCNI=path, a program of sriov-cni to compare with")

.PHONY: bench-cni
bench-cni: extension-root
	@test/lab/deps.sh
	@cd test/lab && go run ./cmd/lab build
	@cd test/lab && SRIOVCNI=$(abspath $(SRIOVCNI)) go test ./e2e/cni -run Times -count=1 -timeout 50m -v

FUZZTIME ?= 5s
.PHONY: fuzz
fuzz: ## Each fuzz target for FUZZTIME
	@hack/fuzz.sh $(FUZZTIME)

# What make lab leaves out: tests, as a pattern for go test -skip, and packages.
LONG      := $(shell awk '/^Test/ { sub("/", "$$/^", $$1); printf "%s^%s$$", sep, $$1; sep = "|" }' test/lab/long.txt)
LONG_PKGS := $(shell awk '/^e2e/ { printf " -e /%s$$", $$1 }' test/lab/long.txt)

# The other version of Talos that the lab has.
TALOS_BEFORE := v1.13.9

# The time-out is for a case that hangs. Each wait of a case has its own bound; a slow
# host may need twice the time of a good one.
LABTEST = cd test/lab && export LAB_TALOS=$(TALOS) && $(call RECORD,lab$(TALOS)) --format standard-verbose -- -p 1 -count=1 -timeout 120m

.PHONY: lab
lab: lab-built ## The tests on Talos in QEMU that guard the seams (RUN=pattern: any of lab-all's; TALOS=version)
	@$(LABTEST) $(if $(RUN),-run '$(RUN)' ./e2e/...,-skip '$(LONG)' $$(go list ./e2e/... | grep -v$(LONG_PKGS))) | $(KEEP_SKIPS)
	@$(if $(RUN),,echo "lab: test/lab/long.txt names what make lab-all runs besides")

.PHONY: lab-all
lab-all: lab-built lab-arm64-built unit-arm64 ## Every test on Talos, and those of make lab on the version before: run it before a release
	@$(LABTEST) ./e2e/... | $(KEEP_SKIPS)
	@$(MAKE) lab TALOS=$(TALOS_BEFORE)

# What the test on arm64 needs, which make lab leaves out.
.PHONY: lab-arm64-built
lab-arm64-built: $(OUT)/extension/linux-arm64/.done
	@test/lab/deps.sh packages-arm64

# What an emulated program cannot do: ask namespaces and interfaces by ioctl, start a
# program of its own architecture, as the tests in cmd do, and compare processor times.
NOT_EMULATED := ^TestKernel|^Test(LongMessage|OpenTellsNamespacesApart|UnmountVar|NoInotify|PluginItselfIsNoIPAMPlugin|JudgedWithinASecond)$$

.PHONY: unit-arm64
unit-arm64: ## The unit tests of the packages as programs of arm64, by QEMU's user emulation
	@test/lab/deps.sh packages-arm64
	@GOARCH=arm64 go test -short -vet=off -exec qemu-aarch64-static -skip '$(NOT_EMULATED)' ./pkg/...

.PHONY: lab-built
lab-built: extension-root sriovctl $(TESTSUM)
	@CGO_ENABLED=0 GOARCH=amd64 $(GOBUILD) -o $(OUT)/snapshot ./hack/snapshot
	@test/lab/deps.sh
	@cd test/lab && go run ./cmd/lab build -talos '$(TALOS)'

BINARIES := sriovd sriov-cni

.PHONY: build
build: $(foreach a,$(ARCHES),$(foreach b,$(BINARIES),$(OUT)/bin/linux-$(a)/$(b))) ## The node's binaries, for all architectures

define binary
$(OUT)/bin/linux-$(1)/$(2): $(GO_SOURCES)
	@mkdir -p $$(@D)
	@GOOS=linux GOARCH=$(1) $(GOBUILD) -o $$@ ./cmd/$(2)
endef
$(foreach a,$(ARCHES),$(foreach b,$(BINARIES),$(eval $(call binary,$(a),$(b)))))

.PHONY: sriovctl
sriovctl: ## The command-line tool, for this machine
	@$(GOBUILD) -o $(OUT)/sriovctl ./cmd/sriovctl

.PHONY: extension
extension: $(OUT)/image/.done ## The extension's OCI image: layout and tarball under _out/

$(OUT)/image/.done: $(foreach a,$(ARCHES),$(foreach b,$(BINARIES),$(OUT)/bin/linux-$(a)/$(b))) extension/sriov.yaml manifest.yaml $(shell find hack/image -name '*.go')
	@go run ./hack/image build -bin $(OUT)/bin -out $(OUT)
	@touch $@

.PHONY: push
push: extension ## Push the image (REGISTRY= USERNAME= TAG=) and print the pinned reference
	@go run ./hack/image push -layout $(OUT)/image $(REGISTRY)/$(USERNAME)/sriov:$(TAG)

# The lab runs the image, unpacked, and not a directory beside it.
.PHONY: extension-root
extension-root: $(OUT)/extension/linux-amd64/.done

$(OUT)/extension/linux-%/.done: $(OUT)/image/.done
	@go run ./hack/image unpack -layout $(OUT)/image -arch $* $(@D)
	@touch $@

.PHONY: clean
clean: ## Remove everything that was built
	@rm -rf $(OUT)
