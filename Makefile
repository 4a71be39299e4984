# A thin front of CMake: cmake --preset release && cmake --build --preset release does the same.
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
PREFIX ?= /usr/local
SOURCES = $(shell find src include tests bench examples fuzz -name '*.[ch]' 2>/dev/null)

.PHONY: all release debug asan tsan test demo results bench format tidy install clean packages help

all: release ## build/furlong and build/libfurlong.{a,so}, optimised

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /    make \1	/p' Makefile | expand -t 20

# make's own flags are not for the make below CMake.
build = cmake --preset $(1) >/dev/null && env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL cmake --build --preset $(1) --parallel $(JOBS)

release:
	@tools/install-packages.sh --check
	@$(call build,release)

debug: ## build-debug/, for a debugger
	@tools/install-packages.sh --check
	@$(call build,debug)

asan: packages ## tests under the address and undefined-behaviour sanitizers
	@$(call build,asan)
	@FL_TEST_TIMEOUT=900 tests/run build-asan

tsan: packages ## tests under the thread sanitizer
	@$(call build,tsan)
	@FL_TEST_TIMEOUT=900 tests/run build-tsan

packages: ## install missing Debian packages
	@tools/install-packages.sh

test: packages ## install missing packages, build, run all tests
	@$(call build,release)
	@tests/run build

demo: packages ## install missing packages, build, show what furlong does
	@$(call build,release)
	@tools/demo.sh

results: packages ## make the tables that are not there yet (hours), and docs/results/
	@$(call build,release)
	@results/run.sh; status=$$?; results/pages.sh && exit $$status

bench: ## build and run the benchmarks
	@tools/install-packages.sh --check
	@cmake --preset release >/dev/null
	@env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL cmake --build --preset release --parallel $(JOBS) --target bench

format: ## apply .clang-format
	clang-format -i $(SOURCES)

tidy: ## apply .clang-tidy
	@cmake --preset release >/dev/null
	@env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL cmake --build --preset release --parallel $(JOBS) >/dev/null
	@printf '%s\n' $(filter src/%.c,$(SOURCES)) | xargs -P $(JOBS) -n 1 clang-tidy -p build --quiet 2>/dev/null

install: release ## into DESTDIR, under PREFIX (/usr/local)
	@DESTDIR="$(DESTDIR)" cmake --install build --prefix "$(PREFIX)"

clean: ## remove the build folders
	rm -rf build build-debug build-asan build-tsan
