# Every target first makes .venv, and makes it anew when what it stands on has changed.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.installed

# Peers have an environment of their own: what they need shall not decide what we need.
BENCH  := .venv-bench
PEERS  := benchmarks/requirements$(if $(shell command -v nvidia-smi),-gpu).txt

.PHONY: help demo test bench gpu notebooks readme docs clean
.DEFAULT_GOAL := help

help:  ## Show what there is
	@grep -E '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

$(READY): settings.ini setup.py constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: $(READY)  ## Cluster blobs, a csv and a photograph from the command line, into demo/
	$(BIN)/python -m tools.demo

test: $(READY)  ## Run and compare every notebook, run every test; nothing in the working tree changes
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

$(BENCH)/.installed: settings.ini setup.py constraints.txt $(wildcard benchmarks/requirements*.txt)
	test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[cpu,sklearn]' -r $(PEERS)
	touch $@

bench: $(BENCH)/.installed  ## Time k-means and its peers on an otherwise idle machine (ARGS="--quick" for a minute's worth)
	$(BENCH)/bin/python -m benchmarks kmeans $(ARGS)

# No environment is made for it: a GPU may be at hand on a machine without a network.
gpu:  ## Test and time everything that needs a GPU, in eight minutes (ARGS="--dry" on a CPU, "--resume" to go on)
	$(or $(wildcard $(BIN)/python),$(PYTHON)) -m benchmarks gpu $(ARGS)

notebooks: $(READY)  ## Write the library from the notebooks, run them, store their outputs (NB="nbs/00_data.ipynb ..." for some)
	$(BIN)/nbdev_export
	$(BIN)/python -m tools.store $(NB)

readme: $(READY)  ## Write README.md and its pictures from nbs/index.ipynb
	$(BIN)/python -m tools.readme

docs: $(READY)  ## Make the site in _docs (needs Quarto)
	@command -v quarto >/dev/null || { echo 'make docs needs Quarto: install it from https://quarto.org, then try again.'; exit 1; }
	rm -rf _proc
	$(BIN)/nbdev_proc_nbs
	cd _proc && quarto render --no-cache
	rm -rf _docs && mv _proc/_docs _docs

clean:  ## Remove what was built, but no environment
	rm -rf _docs _proc build dist demo *.egg-info .pytest_cache .hypothesis nbs/nbdev.yml
	find . -name __pycache__ -not -path './.venv*/*' -prune -exec rm -rf {} +
