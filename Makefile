# Targets:
#
#   make             the programs in bin/
#   make install     programs, units, udev rules, hooks, man pages and
#                    completions below $(DESTDIR)
#   make uninstall   removes these files again; first "systemctl disable --now
#                    ukdump.service"
#   make packages    deb, rpm and Arch packages in dist/, by nfpm, which is
#                    downloaded
#   make capture-kernel  the small capture kernel in dist/, from Debian's source or
#                    KERNEL_SOURCE; then make packages makes a package of it, too
#   make test-packages installs, updates, removes and purges them in new roots of
#                    Debian, in an empty root by rpm and in one by pacman
#   make demo        the main job in a virtual machine: package, setup, reboot,
#                    test with its crash, result
#   make capture     the same, and draws docs/capture.svg from it
#   make test        everything CI runs: lint, test-unit, test-vm
#   make test-unit   unit tests and the seeds of the fuzz targets
#   make test-vm     crashes the kernels of the representative set
#   make test-matrix crashes all of them and prints a table; first it builds the
#                    kernel without modules that some of them use, from
#                    Debian's source: 10 minutes and 2 GB, see scripts/testkernel
#   make test-faults crashes machines with faults and prints the outcomes
#   make test-luks   crashes machines with an encrypted target, and first builds
#                    a kernel that can hand over its key; see scripts/testkernel
#   make fuzz        each fuzz target for FUZZTIME
#   make lint        gofmt, go vet, staticcheck, go mod tidy, and words
#   make words       counts the word that docs/style.md avoids most
#   make bench       sizes, times and the smallest crashkernel=, beside those
#                    of other tools; writes test/bench/results.json. Then bench-network
#   make bench-network sizes, rates and the smallest crashkernel= of dumps over a network,
#                    with and without encryption, beside kdump-tools and kdump-utils
#   make bench-suites the smallest crashkernel= and its estimate on SUITES
#   make bench-dump  seconds and sizes of dumps in machines of 1, 4 and 8 GiB, and of
#                    makedumpfile and ukdump-compress on this computer
#   make charts      draws docs/chart-*.svg from these results
#   make size        bytes of ukdump-rescue, of kdumpinit and of each of its packages
#   make deps        packages for demo and VM tests, by apt-get
#   make clean       removes bin/ and dist/
#   make clean-cache removes the machines' disks and kernels
#
# Variables:
#
#   DESTDIR          root of the installed tree (empty: this machine)
#   PREFIX           where the programs go below DESTDIR (/usr)
#   GO               the go command
#   PACKAGE_ARCHS    architectures of the packages (amd64 arm64)
#   CAPTURE_ARCH     architecture of capture-kernel (that of this machine)
#   KERNEL_SOURCE    source tree for capture-kernel
#   MAINTAINER       of the packages, a name with an address
#   FUZZTIME         for each fuzz target (30s)
#   CELL             regular expression: only these cells or faults of test-vm,
#                    test-matrix and test-faults, as in CELL=xfs-nvme, CELL=full,
#                    or these rows of bench-network, as in CELL=sftp
#   SUITES           of bench-suites: trixie sid, or those with -arm64
#   KDUMP_UTILS      source tree of kdump-utils, for its row of bench-network
#   UKDUMP_SUITE     bookworm-arm64: the machines of test-faults are arm64
#   VMCORE           kdump-compressed dump of a small machine, for the reports of
#                    bench; an ELF one, and bench-dump measures only programs on it
#   JOBS             virtual machines at a time (2)
#   UKDUMP_CACHE     root disks of the machines, and those of machines that
#                    failed (${XDG_CACHE_HOME:-~/.cache}/ukdump)
#   UKDUMP_MIRROR    Debian mirror instead of the usual one with its security
#                    updates
#   UKDUMP_ACCEL     kvm: use KVM if it proves to work (tcg)

PREFIX   = /usr
BIN      = bin
DIST     = dist
GO       = go
FUZZTIME = 30s
JOBS     = 2
CELL     =
SUITES   = trixie sid

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
# Static, without paths and build IDs: the same source gives the same bytes.
GOBUILD     = CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags='-s -w -buildid='

PROGRAMS = $(patsubst cmd/%/main.go,%,$(wildcard cmd/*/main.go))
SOURCES  = $(wildcard go.mod go.sum) \
	$(shell find cmd internal initramfs -type f ! -name '*_test.go' ! -path '*/testdata/*')

.PHONY: build install uninstall packages capture-kernel test-packages deps demo capture test test-unit test-vm test-matrix test-faults test-luks bench bench-network bench-suites bench-dump charts fuzz lint words size clean clean-cache

COMPLETIONS = $(foreach shell,bash zsh fish,$(foreach program,kdumpctl mkkdumpinitrd,$(BIN)/completion/$(program).$(shell)))

build: $(PROGRAMS:%=$(BIN)/%) $(COMPLETIONS) $(BIN)/LICENSE

$(BIN)/%: $(SOURCES)
	$(GOBUILD) -o $@ ./cmd/$*

# The programs write them, so one for this machine must run, whatever GOARCH is built.
$(BIN)/completion/%: $(SOURCES)
	@mkdir -p $(@D)
	env -u GOOS -u GOARCH $(GO) run ./cmd/$(basename $*) completion $(patsubst .%,%,$(suffix $*)) >$@

# The licenses of the modules in the programs demand that they come with them. That of
# x/sys is Go's own.
$(BIN)/LICENSE: LICENSE go.mod go.sum
	@mkdir -p $(@D)
	@{ cat LICENSE && $(GO) list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Dir}}{{end}}{{end}}' $(PROGRAMS:%=./cmd/%) | sort -u | \
		while read -r module dir; do \
			printf '\n%s\nThe programs contain %s:\n\n' "$$(printf '%080d' 0 | tr 0 -)" $$module && cat $$dir/LICENSE* || exit 1; \
		done; } >$@.new
	@mv $@.new $@

# PID 1 waits for disks: without inlining, and with functions at multiples of 16
# bytes instead of 32, it is smaller and no slower. The cipher of processors without
# AES is: it calls a function 80 times for 64 bytes.
CIPHER      = golang.org/x/crypto/chacha20
PID1BUILD   = $(GOBUILD) -gcflags=all=-l -gcflags=$(CIPHER)= -gcflags=vendor/$(CIPHER)= -ldflags='-s -w -buildid= -funcalign=16'
$(BIN)/kdumpinit $(BIN)/kdumpinit-net: GOBUILD := $(PID1BUILD)

# Programs of an image, in lib/ukdump.
IMAGE_PROGRAMS = kdumpinit kdumpinit-net ukdump-compress ukdump-rescue

# After "make", everything is built, and "sudo make install" needs no Go.
install: build
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/ukdump
	install -m 755 $(patsubst %,$(BIN)/%,$(filter-out $(IMAGE_PROGRAMS),$(PROGRAMS))) $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(IMAGE_PROGRAMS:%=$(BIN)/%) $(DESTDIR)$(PREFIX)/lib/ukdump
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	for unit in $(wildcard packaging/*.service packaging/*.path packaging/*.target packaging/*.timer); do \
		sed 's|/usr/bin/|$(PREFIX)/bin/|; s|/usr/lib/ukdump/|$(PREFIX)/lib/ukdump/|' $$unit >$(BIN)/$${unit##*/} && \
		install -m 644 $(BIN)/$${unit##*/} $(DESTDIR)$(PREFIX)/lib/systemd/system || exit 1; \
	done
	install -D -m 755 packaging/ukdump-test.shutdown $(DESTDIR)$(PREFIX)/lib/systemd/system-shutdown/ukdump-test.shutdown
	install -D -m 644 packaging/swap.d/ukdump.conf $(DESTDIR)$(PREFIX)/lib/systemd/system/swap.d/ukdump.conf
	for rules in $(wildcard packaging/*.rules); do \
		install -D -m 644 $$rules $(DESTDIR)$(PREFIX)/lib/udev/rules.d/$${rules##*/} || exit 1; \
	done
	install -D -m 755 packaging/95-ukdump.install $(DESTDIR)$(PREFIX)/lib/kernel/install.d/95-ukdump.install
	install -D -m 644 packaging/95-ukdump.hook $(DESTDIR)$(PREFIX)/share/libalpm/hooks/95-ukdump.hook
	for page in $(wildcard docs/*.[578]); do \
		gzip -9nc $$page >$(BIN)/$${page##*/}.gz && \
		install -D -m 644 $(BIN)/$${page##*/}.gz $(DESTDIR)$(PREFIX)/share/man/man$${page##*.}/$${page##*/}.gz || exit 1; \
	done
	for program in kdumpctl mkkdumpinitrd; do \
		install -D -m 644 $(BIN)/completion/$$program.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/$$program && \
		install -D -m 644 $(BIN)/completion/$$program.zsh $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_$$program && \
		install -D -m 644 $(BIN)/completion/$$program.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/$$program.fish || exit 1; \
	done
	for doc in $(wildcard packaging/*.conf) CHANGELOG.md; do \
		install -D -m 644 $$doc $(DESTDIR)$(PREFIX)/share/doc/ukdump/$${doc##*/} || exit 1; \
	done
	for example in $(wildcard packaging/examples/*); do \
		install -D -m 644 $$example $(DESTDIR)$(PREFIX)/share/doc/ukdump/examples/$${example##*/} || exit 1; \
	done
	install -D -m 644 $(BIN)/LICENSE $(DESTDIR)$(PREFIX)/share/licenses/ukdump/LICENSE

# The list of files is that of "make install".
uninstall:
	rm -rf $(BIN)/installed
	$(MAKE) -s install DESTDIR=$(BIN)/installed
	cd $(BIN)/installed && find . ! -type d >../installed.list && find . -depth -type d \( -name ukdump -o -name swap.d -o -path "*/ukdump/examples" \) >../installed.dirs
	while read -r file; do rm -f "$(DESTDIR)/$$file"; done <$(BIN)/installed.list
	while read -r dir; do rmdir "$(DESTDIR)/$$dir" 2>/dev/null; done <$(BIN)/installed.dirs; rm -rf $(BIN)/installed*

PACKAGE_ARCHS = amd64 arm64
# Who distributes packages gives an address.
MAINTAINER    = The ukdump authors <ukdump@localhost>
VERSION       = $(shell sed -n 's/^const Software = "\(.*\)"/\1/p' internal/plan/version.go)
SOURCE_DATE   = $(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct 2>/dev/null || date -r CHANGELOG.md +%s))

packages:
	for arch in $(PACKAGE_ARCHS); do \
		build=$(abspath $(DIST))/build/$$arch && rm -rf $$build/root && \
		env -u GOOS GOARCH=$$arch $(MAKE) -s install BIN=$$build DESTDIR=$$build/root PREFIX=/usr && \
		(cd packaging/nfpm && SOURCE_DATE_EPOCH=$(SOURCE_DATE) MAINTAINER='$(MAINTAINER)' $(GO) run . $$build/root $$arch $(VERSION) $(abspath $(DIST))) || exit 1; \
		kernel=$(abspath $(DIST))/capture-kernel/$$arch; [ -f $$kernel/release ] || continue; \
		rm -rf $$build/kernel && packaging/capture-kernel/build --install $$kernel $$build/kernel && \
		(cd packaging/nfpm && SOURCE_DATE_EPOCH=$(SOURCE_DATE) MAINTAINER='$(MAINTAINER)' $(GO) run . $$build/kernel $$arch $(VERSION) $(abspath $(DIST)) capture-kernel.yaml) || exit 1; \
	done

CAPTURE_ARCH = $(shell $(GO) env GOARCH)

capture-kernel:
	packaging/capture-kernel/build --arch $(CAPTURE_ARCH) $(if $(KERNEL_SOURCE),--source $(KERNEL_SOURCE)) $(DIST)/capture-kernel/$(CAPTURE_ARCH)

test-packages: packages
	scripts/testpackages $(abspath $(DIST))

deps:
	scripts/deps.sh
	cd packaging/nfpm && $(GO) mod download

demo:
	@$(GO) run ./test/demo

capture:
	@$(GO) run ./test/demo -record test/demo/testdata/capture.cast -svg docs/capture.svg

test: deps lint test-unit test-vm

test-unit:
	$(GO) test ./...

# $(1) is the set of machines.
vm_test = UKDUMP_VM=$(1) $(if $(CELL),UKDUMP_CELL='$(CELL)') $(GO) test -count=1 -v -timeout 3h -parallel $(JOBS) \
	$(if $(CELL),-run 'Test(Crash|Faults|Fake)/(cell|fault|fake)/($(CELL))') ./test

test-vm: build
	$(call vm_test,ci)

test-matrix: build
	$(call vm_test,matrix)

test-faults: build
	$(call vm_test,faults)

test-luks: build
	UKDUMP_VM=luks $(GO) test -count=1 -v -timeout 3h -parallel $(JOBS) -run TestLUKS ./test

bench: deps $(BIN)/kdumpctl
	$(GO) run ./test/bench
	$(MAKE) bench-network
	$(if $(VMCORE),$(GO) run ./test/reportbench -kdumpctl $(BIN)/kdumpctl $(VMCORE),@echo "reports are not measured: set VMCORE")

bench-network: deps build
	UKDUMP_VM=bench $(if $(CELL),UKDUMP_CELL='$(CELL)') $(if $(KDUMP_UTILS),KDUMP_UTILS='$(abspath $(KDUMP_UTILS))') \
		$(GO) test -count=1 -v -timeout 12h -run TestBenchNetwork ./test

bench-suites: deps
	for suite in $(SUITES); do $(GO) run ./test/bench -suite $$suite || exit 1; done

bench-dump: deps build
	UKDUMP_VM=bench $(if $(VMCORE),UKDUMP_VMCORE='$(abspath $(VMCORE))') $(GO) test -count=1 -v -timeout 3h -run TestBenchDump ./test

charts:
	cd test/charts && $(GO) run . ../bench/results.json ../../docs

fuzz:
	for package in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz'); do \
			echo "$$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x $$package || exit 1; \
		done; \
	done

lint:
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "not gofmt'ed:" $$unformatted; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) mod tidy -diff
	@$(GO) run ./scripts/words

words:
	@$(GO) run ./scripts/words

# Weights are those of an unstripped build: symbols by package, amd64.
size:
	@mkdir -p bin
	@for arch in amd64 arm64; do \
		GOARCH=$$arch $(PID1BUILD) -o bin/kdumpinit.$$arch ./cmd/kdumpinit && \
		printf '%9d bytes  kdumpinit %s\n' $$(stat -c %s bin/kdumpinit.$$arch) $$arch || exit 1; \
	done
	@$(GOBUILD) -o bin/ukdump-rescue ./cmd/ukdump-rescue && printf '%9d bytes  ukdump-rescue\n' $$(stat -c %s bin/ukdump-rescue)
	@CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -gcflags=all=-l -o bin/kdumpinit.symbols ./cmd/kdumpinit
	@$(GO) tool nm -size bin/kdumpinit.symbols | awk '$$3 ~ /^[tTrRdD]$$/ { \
		name = $$4; tail = ""; \
		if (match(name, /.*\//)) { tail = substr(name, 1, RLENGTH); name = substr(name, RLENGTH + 1) } \
		sub(/[.:].*/, "", name); weight[tail name] += $$2 } \
		END { for (p in weight) printf "%9d  %s\n", weight[p], p }' | sort -rn | head -n 30

clean:
	rm -rf $(BIN) $(DIST)

clean-cache:
	cache=$${UKDUMP_CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/ukdump}; rm -rf "$$cache/roots" "$$cache/run" "$$cache/demo" "$$cache/kernels"
