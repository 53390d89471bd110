# make demo   JupyterLab on the quick-start notebook
# make check  lint, types, quick tests
# make test   all suites: Python, JavaScript, real kernels, real browser
# Both set up everything they need in .venv; Node comes through pip.

PYTHON ?= python3
VENV   := .venv
BIN    := $(abspath $(VENV))/bin
READY  := $(VENV)/.ready
BUNDLE := ldam_widget/static/widget.js
JS     := $(shell find js/src -type f) js/package.json js/tsconfig.json ldam_widget/pictures/difference_colours.json

export PATH := $(BIN):$(PATH)

.PHONY: demo check test lint types js-test python-test notebook-test random-test zoo networks kernels browser wheel release-check docs links bench soak atlas notebooks format clean

demo: $(READY) $(BUNDLE)
	$(BIN)/ldam demo

# before every commit, a minute and a half: lint, types, the quick tests
check: lint types
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests -q -m "not slow and not law and not kernel and not browser" \
		-n auto --dist worksteal

# every suite runs, whichever fails
test:
	$(MAKE) --keep-going js-test python-test notebook-test

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

js/node_modules/.package-lock.json: js/package.json js/package-lock.json $(READY)
	cd js && npm ci --no-audit --no-fund
	touch $@

$(BUNDLE): $(JS) js/node_modules/.package-lock.json
	cd js && npm run --silent build

js-test: js/node_modules/.package-lock.json
	cd js && npm test --silent

python-test: $(READY) $(BUNDLE)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests -m "not kernel and not browser" -n auto --dist worksteal --durations 15

# Real kernels, real browser: mostly waiting, so two at a time on any machine. A file stays in one process, which has a
# server, a browser and kernels of its own.
notebook-test: $(READY) $(BUNDLE) kernels browser
	$(BIN)/python -m pytest tests -m "kernel or browser" -n 2 --dist loadfile --no-loadscope-reorder --durations 25

# what is drawn at random, from LDAM_TEST_SEED; many seeds: make random-test SEEDS=200
random-test: $(READY) $(BUNDLE)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests -m "statistical or hypothesis" --seeds $(or $(SEEDS),0) -n auto --dist worksteal

# all of the other people's networks that are examined; `make test` has one of each kind. Ten minutes on two cores
zoo: $(READY) $(BUNDLE)
	LDAM_ZOO=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/zoo -n auto --dist worksteal

# the table of them, docs/networks.md
networks: $(READY) $(BUNDLE)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.zoo.table networks.jsonl

# ipykernel 6.31, 7.3 and 7.4 side by side
kernels: $(READY)
	$(BIN)/python -m tests.kernel.environments

# a Chromium for the browser tests: the one that is there, or one that gets installed
browser: $(READY)
	$(BIN)/python -m tests.browser.chromium

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY) js/node_modules/.package-lock.json
	$(BIN)/mypy
	cd js && npm run --silent typecheck

# the built wheel holds the front end, and works in an empty environment
wheel: $(READY) $(BUNDLE)
	$(BIN)/python tests/wheel_check.py

# what the release workflow does before it publishes; leaves sdist and wheel in dist/. Of a tag: make release-check TAG=v0.1.0
release-check: $(READY) $(BUNDLE)
	$(BIN)/python tests/wheel_check.py --dist dist $(if $(TAG),--tag "$$TAG")

# the documentation site, in site/; warnings and broken links are errors
docs: $(READY) $(BUNDLE)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	$(BIN)/python docs/tools/links.py site

# does every address outside of the site still answer?
links: docs
	$(BIN)/python docs/tools/links.py site --online

# an atlas of the shipped CIFAR network, and a folder to browse it: `python -m http.server -d build/atlas-page`
atlas: $(READY) $(BUNDLE)
	$(BIN)/ldam atlas build cifar --out build/atlas
	$(BIN)/ldam atlas export build/atlas build/atlas-page

notebooks: $(READY) $(BUNDLE)
	$(BIN)/python notebooks/execute.py

bench: $(READY) $(BUNDLE)
	$(BIN)/python -m pip install --quiet --no-deps torchvision==0.28.0 torch-lucent==0.1.8 torch-dreams==4.0.0 kornia==0.4.1 \
		horama==0.3.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt decorator future scikit-learn einops "jupyter-rfb>=1.0" \
		torch-sgld==0.1.0 posteriors==0.1.3
	$(BIN)/python benchmarks/run.py

# a million steps of a widget that is played with: does its memory grow? About two hours
soak: $(READY) $(BUNDLE)
	$(BIN)/python benchmarks/soak.py

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf build dist site .kernels ldam_widget/static js/node_modules
