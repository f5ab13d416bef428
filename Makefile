# `make demo` and `make test` are meant to be the first commands run on a bare machine.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test networks lint bench fuzz setup system clean

demo: setup
	$(BIN)/veilscope demo $(ARGS)

test: setup
	$(BIN)/pytest -n 2 --dist loadgroup $(ARGS)

# Three hosts in namespaces, with everything that befalls networks, also what takes minutes.
networks: setup
	$(BIN)/pytest -n 2 --dist loadgroup -m "long or not long" tests/networks $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	$(BIN)/veilscope bench $(ARGS)

# Every parser of what comes from the network, for two minutes each; ARGS="sctp --seconds 3600" for
# one of them, longer. There is no atheris for every machine: without it inputs change by chance.
fuzz: setup
	-$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[fuzz]'
	$(BIN)/python -m tests.fuzz.run $(ARGS)

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(MAKE) --no-print-directory system
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@$(BIN)/python -c 'import cv2' || { echo "OpenCV needs the system libraries libxcb1 libgl1 libglib2.0-0: install them and run make again" >&2; exit 1; }
	@$(BIN)/python -c 'import cv2, re, sys; sys.exit(bool(re.search(r"GUI: +NONE", cv2.getBuildInformation())))' || { echo "this OpenCV was built without windows: remove opencv-python-headless from $(VENV), then pip install --force-reinstall --no-deps opencv-python" >&2; exit 1; }
	@touch $@

# What pip can't bring: Python's venv module, and the libraries that OpenCV's wheel expects to find.
# Installed only where something is missing and apt-get is there to fetch it.
system:
	@missing=""; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || missing="$$missing python3-venv"; \
	for pair in libGL.so.1:libgl1 libxcb.so.1:libxcb1 libglib-2.0.so.0:libglib2.0-0; do \
	  $(PYTHON) -c "import ctypes; ctypes.CDLL('$${pair%%:*}')" 2>/dev/null || missing="$$missing $${pair##*:}"; \
	done; \
	[ -n "$$missing" ] || exit 0; \
	if ! command -v apt-get >/dev/null || [ "$$(uname)" != Linux ]; then \
	  echo "not found, and no apt-get to install it:$$missing (going on without)" >&2; exit 0; fi; \
	if [ "$$(id -u)" = 0 ]; then as_root=""; elif command -v sudo >/dev/null; then as_root="sudo"; else \
	  echo "please install as root, then run make again: apt-get install$$missing" >&2; exit 1; fi; \
	echo "installing system packages:$$missing"; \
	$$as_root apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$as_root apt-get install -qq -y --no-install-recommends $$missing >/dev/null

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
