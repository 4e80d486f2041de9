# `make demo` and `make test` need only python3 (with venv) and make. The first call sets up .venv, which takes a few minutes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
# torchvision has no CPU build. With a CPU torch its import fails, and so does the import of packages that use it if present, such as
# transformers. So torchvision and the packages that need it are in a folder of their own, which only the tests of Ultralytics use.
VISION := ultralytics ultralytics-thop ultralytics-platform torchvision opencv-python polars polars-runtime-32
# SwanLab needs an older protobuf, and Aim an older filelock, than those that the others are tested with. So their
# environment is one of its own, in which what they need otherwise comes before the main one's packages. It has all other
# trackers, too.
TRACKERS := $(VENV)/trackers
# Azure's SDK needs an older mlflow-skinny, and so an environment of the same kind.
AZURE := $(VENV)/azure

.PHONY: help setup demo test trackers second busy pythons check format bench picture screenshots docs faults matrix clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/:/' | awk -F: '{printf "  make %-12s%s\n", $$1, $$2}'

setup: $(VENV)/.ready  ## make .venv with the project, all seven SDKs and the development tools

$(VENV)/.ready: pyproject.toml constraints.txt
	@echo "Setting up $(VENV): the seven trackers' SDKs, PyTorch and the development tools. This takes a few minutes, once."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) --editable '.[all,dev]'
	@$(PIP) --no-deps --upgrade --target $(VENV)/vision $(VISION)
	@touch $@

$(VENV)/.bench: $(VENV)/.ready
	@echo "Adding the tools that the benchmarks compare with."
	@$(PIP) --editable '.[all,dev,bench]'
	@touch $@

demo: $(VENV)/.ready  ## train a small network, cast it to every tracker, read each one back
	@$(BIN)/python -m runcast demo

# The tests start some thousand interpreters, which write no bytecode; with that of the package there, each starts sooner.
test: $(VENV)/.ready  ## run the tests
	@$(BIN)/python -m compileall -q runcast
	@$(BIN)/python -m pytest -n 3 --dist worksteal

# An environment beside the main one: its folder, how its constraints differ, its extras.
define beside
	@test -x $(1)/bin/python || $(BIN)/python -m venv $(1)
	@$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
		> "$$($(1)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/main.pth"
	@sed $(2) constraints.txt > $(1)/constraints.txt
	@$(1)/bin/python -m pip --disable-pip-version-check install --quiet \
		--constraint $(1)/constraints.txt --editable '.[$(3)]'
	@touch $@
endef

$(TRACKERS)/.ready: EXTRAS := more,dagshub-dvc
$(TRACKERS)/.ready: $(VENV)/.ready
	@echo "Setting up $(TRACKERS): the SDKs of the trackers of the second rank."
	$(call beside,$(TRACKERS),'s/^protobuf==.*/protobuf==6.33.5/; s/^filelock==.*/filelock==3.32.7/',$(EXTRAS))

$(AZURE)/.ready: $(VENV)/.ready
	@echo "Setting up $(AZURE): Azure's SDK."
	$(call beside,$(AZURE),'/^mlflow/d; /^azure-storage-blob/d; /^pytz/d',azure-ml)

trackers: second $(AZURE)/.ready  ## set up the trackers of the second rank, and run their tests
	@$(AZURE)/bin/python -m pytest -m azure

second: $(TRACKERS)/.ready  ## the same without Azure ML, which needs one more environment: what CI has the time for
	@$(TRACKERS)/bin/python -m pytest -n 3 --dist worksteal -m trackers

matrix: $(VENV)/.ready  ## run all the variants of which `make test` runs a sample
	@$(BIN)/python -m pytest -n 2 --dist worksteal -m matrix

busy: $(VENV)/.ready  ## run the tests three times beside processes that keep every processor busy (an hour and more)
	@$(BIN)/python tools/busy.py 3 $(MAKE) test

pythons: $(VENV)/.ready  ## run the tests that need no framework with the other versions of Python that are here
	@$(BIN)/python tools/pythons.py $(VENV)

check: $(VENV)/.ready  ## lint, format, docstrings, types
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .
	@$(BIN)/python -m mypy

format: $(VENV)/.ready  ## write the stub of the public names, apply ruff's fixes
	@$(BIN)/python tools/stub.py
	@$(BIN)/python tools/transformers_table.py
	@$(BIN)/python tools/tracker_pages.py
	@$(BIN)/python -m ruff check --fix .
	@$(BIN)/python -m ruff format .

bench: $(VENV)/.bench  ## measure the budgets, with other tools in the same run
	@$(BIN)/python -m benchmarks

picture: $(VENV)/.ready  ## train the demo in a temporary folder and draw the README's picture of it, and the docs' drawings
	@folder=$$(mktemp -d) && cd $$folder && $(CURDIR)/$(BIN)/python -m runcast demo && $(CURDIR)/$(BIN)/python $(CURDIR)/tools/picture.py
	@$(BIN)/python tools/drawings.py

screenshots: $(VENV)/.ready  ## train the demo, and take the docs' pictures of trackers' own pages (needs Chromium)
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tools/screenshots.py

faults: $(VENV)/.ready  ## break everything that can break, and check that training and data survive
	@$(BIN)/python -m faults

docs: $(VENV)/.ready  ## build the documentation into site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "Open site/index.html"

clean:  ## remove what the other targets made
	rm -rf $(VENV) site dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
