# One word each; CI runs the same words.  Each target does its own set-up, says what it does, and does it once.
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help run run-containerd test test-fast check format protos bench stress docs clean run-packages test-packages bench-packages

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PYTEST_ROOT = $(SUDO) env PYTHONDONTWRITEBYTECODE=1 $(BIN)/python -m pytest -p no:cacheprovider
SUDO   := $(if $(filter 0,$(shell id -u)),,sudo)

# What `prun run` needs: an OCI runtime, the seccomp profile's template, an init, and a static busybox for the image.
RUN_PACKAGES   := runc conmon catatonit busybox-static golang-github-containers-common python3-venv
# What the tests compare with and are checked against: other tools, the OCI schemas, Debian itself.
TEST_PACKAGES  := $(RUN_PACKAGES) apparmor uidmap fuse-overlayfs crun umoci skopeo debootstrap libcap2-bin attr strace tzdata qemu-system-x86 \
                  podman containerd docker-registry apache2-utils openssl bash zsh fish \
                  golang-github-opencontainers-specs-dev golang-github-opencontainers-image-spec-dev
BENCH_PACKAGES := $(TEST_PACKAGES)

help: ## Show the targets
	@sed -n 's/^\([a-z-]*\):.*## /make \1	/p' Makefile | expand -t 18

run: $(VENV)/.installed run-packages dist/busybox.tar ## Set everything up, and run a first container
	@echo "==> running a container (as root: namespaces, mounts and cgroups need it)"
	$(SUDO) $(BIN)/prun load --tag busybox dist/busybox.tar
	$(SUDO) $(BIN)/prun run --rm --runtime linux busybox sh -c \
	  'echo "hostname: $$(hostname)"; echo "pid 1:    $$(tr "\0" " " </proc/1/cmdline)"; echo "root:     $$(echo /*)"'
	@echo
	@echo "==> any other image: make an archive of it with a tool of your choice, and run that:"
	@echo "      skopeo copy docker://debian:12 oci-archive:debian.tar      (or: docker save debian:12 -o debian.tar)"
	@echo "      $(SUDO) $(BIN)/prun run --rm -it debian.tar bash"
	@echo "    or load it once, under a name: $(SUDO) $(BIN)/prun load --tag debian:12 debian.tar"

run-containerd: $(VENV)/.installed run-packages dist/busybox.tar ## Run the same image through a containerd
	@./scripts/install-packages containerd
	$(SUDO) ./scripts/with-containerd $(BIN)/prun load --tag busybox dist/busybox.tar
	$(SUDO) ./scripts/with-containerd $(BIN)/prun run --rm busybox sh -c 'echo "hello from containerd, as $$(id -un)"'
	@echo "==> with a containerd of yours: $(SUDO) $(BIN)/prun run --rm --engine containerd busybox sh"

test: $(VENV)/.tools test-packages ## Run all tests (as root: they run real containers)
	@echo "==> testing (as root: real namespaces, mounts and cgroups)"
	$(PYTEST_ROOT) -n 3 --dist loadfile --no-loadscope-reorder -m "not vm and not alone"
	$(PYTEST_ROOT) -m vm
	$(PYTEST_ROOT) -m alone

test-fast: $(VENV)/.tools ## Run the tests that need no root and no server, in under a minute
	$(BIN)/python -m pytest -m 'not root and not slow and not packaging' -x -q

check: $(VENV)/.tools ## Check style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.tools ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

protos: $(VENV)/.tools ## Generate protos/prun_protos from protos/
	$(BIN)/python scripts/generate_protos.py

bench: $(VENV)/.tools bench-packages dist/busybox.tar ## Measure against runc, podman and ctr, side by side
	$(SUDO) $(BIN)/python bench/bench.py
	$(SUDO) $(BIN)/python bench/plugins.py

stress: $(VENV)/.tools test-packages ## Run ten thousand containers, and two hundred at once: nothing is left of them
	$(SUDO) $(BIN)/python bench/stress.py

docs: $(VENV)/.tools ## Check that every example of the documentation runs
	$(BIN)/python -m pytest -q tests/contract

clean: ## Remove what these targets made here
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

run-packages:
	@./scripts/install-packages $(RUN_PACKAGES)

test-packages:
	@./scripts/install-packages $(TEST_PACKAGES)

bench-packages:
	@./scripts/install-packages $(BENCH_PACKAGES)

$(VENV)/bin/python:
	@./scripts/install-packages python3-venv
	@echo "==> making a virtual environment in $(VENV)"
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml
	@echo "==> installing prun and its dependencies into $(VENV)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@# Bytecode made now, and by you: what runs as root shall leave nothing of its own in this tree.
	$(BIN)/python -m compileall -q core plugins protos
	@touch $@

$(VENV)/.tools: $(VENV)/.installed
	@echo "==> installing the tools for tests and checks into $(VENV)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

dist/busybox.tar: scripts/busybox_image.py | run-packages $(VENV)/bin/python
	@echo "==> building an OCI image from Debian's static busybox"
	@mkdir -p dist
	$(BIN)/python scripts/busybox_image.py $@
