# Every target makes its own virtual environment when it is missing.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
QUICKSTART_DIR ?= quickstart
BENCH_DIR ?= bench-result
STUBS := crossrank/v1 crossrank/tei/v1

.PHONY: install quickstart test test-install verify check docs bench reference proto proto-baseline

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check -c constraints.txt -e '.[all]'
	touch $@

install: $(VENV)/.installed

quickstart: install
	$(BIN)/crossrank quickstart --out $(QUICKSTART_DIR)

test: install
	$(BIN)/python -m pytest

test-install: install
	$(BIN)/python -m pytest -m install

verify: install
	$(BIN)/python -m pytest -m verify

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint
	$(BIN)/buf breaking --against protos/baseline.binpb
	rm -rf build/stubs && mkdir -p build/stubs
	$(call generate,build/stubs)
	for stubs in $(STUBS); do diff -r -x __init__.py -x __pycache__ build/stubs/$$stubs $$stubs || exit; done

# A warning, as of a link that leads nowhere, is an error.
docs: install
	$(BIN)/mkdocs build --strict

# Prints what changed since the reference, and fails nothing: machines differ, so ratios within the run are compared.
bench: quickstart
	$(BIN)/python -m benchmarks.engines $(QUICKSTART_DIR)/model $(QUICKSTART_DIR)/ranker --rounds 5 --no-load \
		--out $(BENCH_DIR)
	$(BIN)/python -m benchmarks.compare benchmarks/reference.json $(BENCH_DIR)/result.json

# The pages that a test compares with the code.
reference: install
	$(BIN)/python -m crossrank.cli.reference docs/reference

proto: install
	$(call generate,.)

# Only for a release: from then on `make check` refuses changes that break clients of this contract.
proto-baseline: install
	$(BIN)/buf build -o protos/baseline.binpb

define generate
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -I protos --python_out=$(1) --mypy_out=$(1) \
		--grpc_python_out=$(1) --mypy_grpc_out=$(1) protos/crossrank/v1/ranker.proto \
		protos/crossrank/tei/v1/tei.proto
endef
