# tongban: see README.md. "make help" lists what there is.
GO      ?= go
ITEMS   ?= $(wildcard ../shared/data/items_guangan_511602.csv)
PKGS    ?= ./...
BIN     := bin/tongban
LDFLAGS := -s -w
demo_items = $(if $(ITEMS),--items $(ITEMS))

.PHONY: help build preflight demo demo-check test check bench torture long assets deps clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

preflight:
	@sh internal/demo/preflight.sh

build: preflight ## build bin/tongban and say how large it is and which glibc it needs
	@mkdir -p bin
	@sh internal/demo/build.sh "$(GO)" "$(BIN)" "$(LDFLAGS)"

demo: build ## four levels on nine processes, on this machine: one page with lines to cut and boxes to kill
	@exec $(BIN) demo $(demo_items)

demo-check: build ## the same as a script: load, kill, count at all levels, cut, lodge, heal, restore; JSON last [ITEMS=file]
	@exec $(BIN) demo --script --json $(demo_items)

check: ## gofmt, vet, staticcheck, the repository's own rules
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "gofmt would change:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags mutants ./replication/...
	$(GO) tool staticcheck ./...
	$(GO) test ./internal/repo/...

test: check ## every test, as an ordinary user; ends with what could not run and why
	@{ $(GO) test -json -timeout 12m $(PKGS); \
	$(GO) test -json -timeout 12m -tags mutants -run 'TestMutants' ./replication/...; } | $(GO) run ./internal/repo/report $(REPORT)

bench: build ## measure; docs/BENCH.md says what the figures mean [BENCH=district, federation or replication; PEER=its addresses]
ifeq ($(BENCH),replication)
	@exec $(BIN) bench replication $(if $(PEER),--peer $(PEER)) $(if $(ONLY),--only $(ONLY))
else
	@exec $(BIN) bench $(demo_items) $(if $(BENCH),--only $(BENCH))
	$(if $(filter federation,$(BENCH)),,$(GO) test -run '^$$' -bench . -benchtime 1s ./replication/... ./division/... ./service/...)
	$(if $(filter district,$(BENCH)),,$(GO) test -run '^$$' -bench . -benchtime 1s ./federation/...)
endif

torture: build ## three processes, or four levels of divisions, under faults; as root with power cuts [SUITE=federation DURATION=60s SEED=n NETWORK=namespaces]
	@exec $(BIN) torture --duration $(or $(DURATION),60s) $(if $(SUITE),--suite $(SUITE)) $(if $(SEED),--seed $(SEED)) $(if $(NETWORK),--network $(NETWORK))

long: ## the longer runs
	$(GO) test -timeout 80m -count 20 -run 'Attack' ./replication/...
	$(GO) test -timeout 80m -run 'TestSimulation$$' ./replication -seed 1000 -seeds 5000
	$(GO) test -timeout 80m -tags mutants -run 'TestMutantsThatProcessesShow' ./internal/torture
	$(MAKE) torture DURATION=20m
	$(MAKE) torture SUITE=federation DURATION=20m
	test "$$(id -u)" != 0 || $(BIN) torture --duration 10m --network namespaces
	$(GO) test -timeout 80m -run 'TestNothingIsLostOrDoubledWhateverHappens' ./internal/simulate -seed 1000 -seeds 3000

assets: ## compile the pages' styles and scripts (needs npm)
	sh portal/assets/build.sh

deps: ## install what the browser and unit tests need (asks first)
	@sh internal/repo/deps.sh

clean: ## remove what was built
	rm -rf bin
