# GPUForge's commands; `make` alone lists them. All that is needed beforehand is make and Python 3.11 or newer.
.DEFAULT_GOAL := help
.PHONY: help demo test check gates format bench deb ui types screenshots clean
MAKEFLAGS += --no-print-directory
# .venv is installed uncompiled: what a first run compiles and keeps is what makes the second start in seconds.
unexport PYTHONDONTWRITEBYTECODE

PYTHONS := $(or $(PYTHON),.venv/bin/python python3 python3.14 python3.13 python3.12 python3.11)

# $(call environment,demo|dev): .venv with what that needs; a second time it only compares a stamp.
define environment
@for python in $(PYTHONS); do \
	if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		exec "$$python" tests/environment.py $(1); \
	fi; \
done; \
echo 'GPUForge needs Python 3.11 or newer; none of these is: $(PYTHONS)' >&2; \
echo 'Install one, or name it: make $@ PYTHON=/path/to/python3.11' >&2; \
exit 1
endef

help: ## this list
	@sed -n 's/^\([a-z]*\): .*## \(.*\)/  make \1|\2/p' Makefile | while IFS='|' read -r name text; do \
		printf '%-13s %s\n' "$$name" "$$text"; done

# exec: Ctrl-C then reaches the command itself, and make has nothing to add to its farewell.
demo: ## a control plane and a live fleet on this machine   NODES=12 PORT=8080 DATA=folder
	$(call environment,demo)
	@exec .venv/bin/gpuforge demo \
		$(if $(NODES),--nodes '$(NODES)') $(if $(PORT),--port '$(PORT)') $(if $(DATA),--data '$(DATA)')

# Format, lint, types and import contracts are tests of the suite as well (tests/system/test_gates.py): whoever
# runs `make test`, and the CI that runs nothing else, sees them without learning a second command.
test: ## the whole suite, from a bare checkout   ARGS="-k ingest" goes to pytest
	$(call environment,dev)
	@exec .venv/bin/python -m tests.tiers $(ARGS)

check: ## before a commit: format, lint, types, import contracts, then the suite
	$(call environment,dev)
	@$(MAKE) gates
	@$(MAKE) test

gates: # cheap ones first
	.venv/bin/ruff format --check
	.venv/bin/ruff check
	.venv/bin/lint-imports
	.venv/bin/mypy

format: ## put the code in shape: ruff format, and the lint that ruff can mend
	$(call environment,dev)
	@.venv/bin/ruff check --fix-only
	@.venv/bin/ruff format

ui: ## build the dashboard into the package, without an install (a running control plane reads it at its start)
	$(call environment,dev)
	@.venv/bin/python hatch_build.py

# FOR is the hosts' Python, which the packages depend on: 3.11 on Debian 12, 3.12 on Ubuntu 24.04, 3.13 on Debian 13
deb: ## both Debian packages, into dist/   FOR=3.12 for hosts with that Python, else this one's
	$(call environment,dev)
	@.venv/bin/python deb/build.py $(if $(FOR),--python '$(FOR)')

types: ## what editors and tsc read of the API: controlplane/dashboard/src/api/schema.ts
	$(call environment,dev)
	@.venv/bin/python controlplane/dashboard/api_types.py

screenshots: ## every tab in both themes, into screenshots/
	$(call environment,dev)
	@.venv/bin/python -m tests.browser.screenshots $(ARGS)

BENCHES = $(basename $(notdir $(wildcard tests/bench/*.py)))

bench: ## one of the measurements in tests/bench   BENCH=name ARGS="--its own"
	@if [ -z '$(BENCH)' ]; then echo 'Which one? make bench BENCH=… of: $(BENCHES)' >&2; exit 2; fi
	$(call environment,dev)
	@exec .venv/bin/python -m tests.bench.$(BENCH) $(ARGS)

clean: ## remove all that make made: .venv, caches, builds, the demo's database
	@rm -rf .venv .demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache screenshots
	@rm -rf controlplane/gpuforge_controlplane/_ui controlplane/dashboard/node_modules controlplane/dashboard/dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
