# The front door: every target works from a fresh clone with Go, git and make.
GO       ?= go
FUZZTIME ?= 30s
BIN      ?= bin
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT   ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
LDFLAGS   = -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)

# Tools are pinned in a module of their own, so the product's stays small.
TOOL    = $(GO) tool -modfile=tools/go.mod
GOTEST  = $(GO) run -C tools ./gotest
TESTING = -timeout 40m -p 2

.DEFAULT_GOAL := help
.PHONY: help demo test test-short lint bench fuzz build cover go-version

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build ## run everything on this machine, nothing to configure
	$(BIN)/rotator demo $(ARGS)

test: lint ## everything that CI runs: lint, all tests with the race detector
	$(GO) test -C tools ./gotest
	$(GO) vet -C test/vaultserver ./...
	$(GO) test -C test/alerts -count=1 . # what it reads is outside its module, where go test would not notice a change
	$(GOTEST) -race $(TESTING) ./...

test-short: go-version ## the quick tests only, no servers
	$(GO) test -short $(TESTING) ./...

lint: go-version ## golangci-lint, and govulncheck where its database can be reached
	$(TOOL) golangci-lint run --allow-parallel-runners
	@GO='$(GO)' sh tools/vulncheck.sh

bench: go-version ## benchmarks; they print ratios
	$(GO) test -run '^$$' -bench . -timeout 60m -p 1 ./...

fuzz: go-version ## each fuzz target for FUZZTIME (default 30s)
	@for pkg in $$($(GO) list ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' "$$pkg" | grep '^Fuzz'); do \
	    echo "$$target $$pkg"; \
	    $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$pkg" || exit 1; \
	  done; \
	done

build: go-version ## bin/rotator, a static binary
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/rotator ./cmd/rotator

cover: go-version ## test coverage over all packages; the profile is bin/cover.out
	@mkdir -p bin
	$(GO) test $(TESTING) -coverpkg=./cmd/...,./internal/... -coverprofile=bin/cover.out ./...
	@$(GO) tool cover -func=bin/cover.out | tail -n 1

go-version:
	@v=$$($(GO) env GOVERSION 2>/dev/null); case "$$v" in \
	  go1.2[6-9]* | go1.[3-9][0-9]* | go[2-9]* | devel*) ;; \
	  *) echo "Go 1.26 or newer is needed, found $${v:-none}: install it, or say which with make GO=/path/to/go" >&2; exit 1 ;; \
	esac
