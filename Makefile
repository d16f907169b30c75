# make test      everything that CI checks, on real servers
# make servers   only what these need: ZooKeeper, which is Debian's package and is
#                installed where it may be, and etcd and Consul, which are built
# make bench     benchmarks, beside the raw client
# make bench-balance   what a pick costs, beside go-kit's balancers
# make repeat    the suite many times over, for what fails rarely
# make chaos     clusters of three under fire, one backend after the other: BACKEND=zkreg,
#                etcdreg, consulreg or memreg, DURATION=10m, SEED=…, MINIMIZE=1, ARTIFACTS=directory
# make chaos-bites  that it finds faults which are planted in the library; a quarter of an hour
# make herd      a thousand registries lose their registry together and come back:
#                BACKEND=zkreg, etcdreg or consulreg for one, REGISTRIES=1000
# make reliability  the tables of docs/reliability.md, measured anew; 40 minutes
# make vuln      known vulnerabilities in what is imported; asks the internet
# make demo      three time servers and a client in one process

GO ?= go
# Cases of the suite mostly wait: more of them at a time than there are cores.
PARALLEL = 16
ZK_JAR = /usr/share/java/zookeeper.jar

.PHONY: test servers format vet staticcheck tidy bench bench-balance repeat chaos chaos-bites herd reliability vuln demo

.NOTPARALLEL:

# The chaos run is a module of its own: what it needs is none of the users' business.
CHAOS = internal/chaos

# The tests come last, so that their summary closes the output. One package at a time:
# what is timed is not to be starved by what runs beside it. A skip, which go test does
# not even name, is a failure where all that the tests need is there.
NO_SKIP = test $$TESTS_SKIPPED = 0 || test x$$REGISTRY_TEST_ZK$$REGISTRY_TEST_ETCD$$REGISTRY_TEST_CONSUL != x || \
	{ echo FAIL: $$TESTS_SKIPPED skipped; exit 1; }
GOTESTSUM = tools/gotestsum.mod gotestsum --format standard-quiet --post-run-command 'sh -c "$(NO_SKIP)"' --

test: servers format vet staticcheck tidy
	REGISTRY_TEST_REQUIRE=zk,etcd,consul $(GO) tool -modfile=$(GOTESTSUM) -race -p 1 -timeout 40m -parallel $(PARALLEL) ./...
	cd $(CHAOS) && $(GO) tool -modfile=../../$(GOTESTSUM) -race -parallel 3 -timeout 15m ./...

# What the tests need and go does not bring: ZooKeeper's package, and binaries of
# etcd and Consul, which are built once, in minutes. Where the address of a server
# is in REGISTRY_TEST_ZK, REGISTRY_TEST_ETCD or REGISTRY_TEST_CONSUL, that one is
# used, and none is needed.
servers:
	@if [ -n "$$REGISTRY_TEST_ZK" ]; then exit 0; fi; \
	if [ -e $(ZK_JAR) ] && command -v java >/dev/null; then exit 0; fi; \
	sudo=; \
	if [ "$$(id -u)" != 0 ]; then sudo='sudo -n'; fi; \
	if ! command -v apt-get >/dev/null || { [ -n "$$sudo" ] && ! $$sudo true 2>/dev/null; }; then \
		echo 'The tests need a ZooKeeper, and this user cannot install one. Either'; \
		echo '  install the Debian package: apt-get install --no-install-recommends zookeeper'; \
		echo '  or set REGISTRY_TEST_ZK to the host:port of one that may be used for tests.'; \
		exit 1; \
	fi; \
	echo 'Installing the Debian package zookeeper.'; \
	$$sudo apt-get update -qq && \
	$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends zookeeper
	@$(GO) run ./internal/testserver/cmd/registryd install

format:
	@files=$$(gofmt -l .) && if [ -n "$$files" ]; then echo "gofmt -w these:"; echo "$$files"; exit 1; fi

vet:
	$(GO) vet ./...
	cd $(CHAOS) && $(GO) vet -tags bites ./...
	cd bench && $(GO) vet ./...

staticcheck:
	$(GO) tool -modfile=tools/staticcheck.mod staticcheck ./...
	cd $(CHAOS) && $(GO) tool -modfile=../../tools/staticcheck.mod staticcheck ./...
	cd bench && $(GO) tool -modfile=../tools/staticcheck.mod staticcheck ./...

tidy:
	$(GO) mod tidy -diff
	cd $(CHAOS) && $(GO) mod tidy -diff
	cd bench && $(GO) mod tidy -diff

bench: servers
	REGISTRY_TEST_REQUIRE=zk,etcd,consul $(GO) test -run='^$$' -bench=. -benchmem -timeout 30m ./...

bench-balance:
	cd bench && $(GO) run ./balance

repeat: servers
	$(GO) test -race -count=100 -timeout 90m -parallel $(PARALLEL) ./memreg
	REGISTRY_TEST_REQUIRE=zk,etcd,consul $(GO) test -race -count=10 -timeout 60m -parallel $(PARALLEL) -p 1 ./zkreg ./etcdreg ./consulreg

chaos: servers
	cd $(CHAOS) && REGISTRY_TEST_REQUIRE=zk,etcd,consul CHAOS_DURATION=$(or $(DURATION),10m) CHAOS_SEED=$(or $(SEED),random) \
		CHAOS_MINIMIZE=$(MINIMIZE) CHAOS_DIR=$(abspath $(ARTIFACTS)) \
		$(GO) test -race -v -count=1 -timeout 0 -run 'TestChaos$$/on$(if $(BACKEND),/^$(BACKEND:%reg=%)$$)' .

chaos-bites: servers
	cd $(CHAOS) && REGISTRY_TEST_REQUIRE=zk,etcd,consul $(GO) test -tags bites -v -count=1 -timeout 0 -run TestChaosBites .

BACKEND =
ifneq ($(filter-out zk etcd consul mem zkreg etcdreg consulreg memreg,$(BACKEND)),)
$(error BACKEND=$(BACKEND): want zkreg, etcdreg, consulreg or, for chaos, memreg)
endif
REGISTRIES = 1000
# A process for each, so that what one leaves in memory is not in the way of the next.
HERD = $(if $(filter mem%,$(BACKEND)),$(error herd is for zkreg, etcdreg and consulreg))for b in $(or $(BACKEND),zkreg etcdreg consulreg); do \
	REGISTRY_TEST_REQUIRE=zk,etcd,consul $(GO) test -count=1 -timeout 30m -run "TestHerd/$$b" ./internal/herd

# Without the race detector, which knows no more than 8,128 goroutines.
herd: servers
	$(HERD) -v -args -registries $(REGISTRIES) || exit 1; done

# Each in turn: what is measured is not to be in each other's way.
reliability: servers
	{ REGISTRY_TEST_REQUIRE=zk,etcd,consul $(GO) test -json -race -count=3 -p 1 -timeout 30m -parallel $(PARALLEL) \
		./memreg ./zkreg ./etcdreg ./consulreg; \
	REGISTRY_TEST_REQUIRE=zk,etcd,consul $(GO) test -json -race -count=3 -parallel 1 -timeout 30m -skip TestUnderLoad ./internal/processes; \
	REGISTRY_TEST_REQUIRE=zk,etcd,consul $(GO) test -json -race -count=1 -parallel $(PARALLEL) -timeout 30m -run TestUnderLoad ./internal/processes; \
	$(HERD) -json -args -registries $(REGISTRIES); done; } | $(GO) run ./internal/measured/cmd/reliability

vuln:
	$(GO) tool -modfile=tools/vuln.mod govulncheck ./...

demo:
	$(GO) run ./timesvc/cmd/timesvc demo
