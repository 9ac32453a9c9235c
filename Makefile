# Everything here sets itself up on a fresh machine: Python 3.10 to 3.13 with venv, and a network to install from.
PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test lint types base-install arm64 docs figures clean

demo: $(INSTALLED)  ## train a detector on made-up lane scenes, compress it by a study, drive it into the rain
	$(BIN)/leanood demo --out=demo

test: $(INSTALLED) lint types base-install  ## everything that CI checks
	$(BIN)/pytest -q -n $(WORKERS) --dist=loadgroup

lint: $(INSTALLED)
	$(BIN)/ruff check .

# mypy doesn't see that the root is the package: it is shown a folder `leanood` that links back here.
types: $(INSTALLED)
	rm -rf .build/types && mkdir -p .build/types && ln -s ../.. .build/types/leanood
	cd .build/types && ../../$(BIN)/mypy --config-file=leanood/pyproject.toml leanood/ood leanood/data leanood/models leanood/compression leanood/tflite leanood/files leanood/workflow leanood/tools

# A wheel in an empty environment with the base dependencies alone: no TensorFlow.
base-install: $(INSTALLED)
	tests/base_install.sh $(BIN)/python

# A page for every module of the library, from its docstrings; the verbs' flags are what `leanood VERB --help` shows.
docs: $(INSTALLED)  ## the API reference, in .build/docs
	mkdir -p .build && cd .build && TF_USE_LEGACY_KERAS=1 TF_CPP_MIN_LOG_LEVEL=3 ../$(BIN)/pdoc --docformat google --output-directory docs \
	  leanood $(addprefix leanood.,ood data models compression tflite files workflow) '!leanood.tflite.timing.measure'

# The same on arm64, under qemu, against this machine's scores: minutes, and not part of `test`.
arm64: $(INSTALLED)
	tests/arm64.sh $(BIN)/python

FIGURES := detector_arithmetic import_time lanes_speed resize_cost device_overhead filter_bank_cost million_names frame_to_verdict

# What each prints is the result, a missed target too; it takes some minutes, best of a machine that does nothing else.
figures: $(INSTALLED)  ## the short benchmarks, then docs/benchmarks.md from their results
	for name in $(FIGURES); do $(BIN)/python benchmarks/limits/$$name.py; done
	$(BIN)/python benchmarks/table.py

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,video,tfds,study,dev]'
	touch $@

clean:
	rm -rf $(VENV) .build demo dist leanood.egg-info
