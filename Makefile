# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
QUIET := --quiet --disable-pip-version-check --no-compile  # what is imported is compiled then,
export PYTHONDONTWRITEBYTECODE :=  # and kept: else every program that tests start compiles it anew

.PHONY: demo browser test unit lint soak bench clean help

help:
	@echo "make demo   install into $(VENV) and render demo.mp4 from the bundled portrait and speech"
	@echo "make test   install what the tests need and run them"
	@echo "make lint   ruff and mypy"
	@echo "make soak   full loads: many kills, 200 mixed jobs, 500 on the server (half an hour)"
	@echo "make bench  measure speed, memory and lip sync"

$(VENV)/core: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	@touch $@

# torch first and by its exact version: left free, pip takes the far larger CUDA build
$(VENV)/dev: $(VENV)/core
	$(BIN)/pip install $(QUIET) torch==2.13.0
	$(BIN)/pip install $(QUIET) -e ".[dev]"
	@echo "next: gradio; pip will say that runpod wants another tomlkit, which it can do without"
	$(BIN)/pip install $(QUIET) -e ".[ui]"
	@touch $@

# Debian's, for the tests of the web page; where it cannot be had they are skipped, and say so
browser:
	@if command -v chromium >/dev/null; then :; \
	elif command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	  apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium >/dev/null; \
	else echo "note: no chromium here: tests in a browser will be skipped"; fi

demo: $(VENV)/core
	$(BIN)/talkhead talk library:astronaut.png library:librivox.flac \
	  --transcript src/talkhead/assets/librivox.txt --size 512x512 --fit face --seed 7 -o demo.mp4 --force
	@echo "open demo.mp4"

# a file of tests at a time, in their order: the long ones, of whole programs, come first; one more
# than two cores have, as those often wait; what fails is easier to read without -n
test: $(VENV)/dev browser
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

unit: $(VENV)/dev
	$(BIN)/pytest tests/unit

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

soak: $(VENV)/dev browser
	$(BIN)/pytest -m soak

bench: $(VENV)/dev
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/draft_speed.py
	$(BIN)/python benchmarks/draft_memory.py
	$(BIN)/python benchmarks/convert_memory.py
	$(BIN)/python benchmarks/sync_score.py
	$(BIN)/python benchmarks/worker_overhead.py

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis demo.*
