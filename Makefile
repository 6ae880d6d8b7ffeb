# make demo: set up, pretrain a small BERT on the documentation of Python, score it.   make test: set up and test.
# Both need only Python 3.11 or newer, pip and git; PYTHON=python3.12 chooses another one.

PYTHON ?= python3
VENV := .venv
PTK := $(VENV)/bin/ptk
READY := $(VENV)/.ready
BENCH_PYTHON ?= $(VENV)/bin/python
# One process a core, one thread each: two threads beside another process are slower than one.
TEST := OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest --numprocesses auto --dist worksteal

.PHONY: demo demo-finetune test check chaos soak audit clean
.PHONY: bench bench-gpu bench-text bench-start bench-learning bench-store bench-command bench-finetune bench-squad bench-tasks

demo: $(READY)
	$(PTK) pretrain bert-mlm-nsp --run runs/demo --overwrite --offline
	$(PTK) eval runs/demo --samples 5 --offline

# After make demo: what its pretraining is worth on a labelled task, beside random weights.
demo-finetune: $(READY)
	$(VENV)/bin/python tests/bench/demo_finetune.py

test: $(READY)
	$(TEST)

check: $(READY)
	$(VENV)/bin/ruff format --check ptk tests
	$(VENV)/bin/ruff check ptk tests
	$(VENV)/bin/pyright
	$(TEST)

# Breaks runs in every way a machine can; CHAOS='--only kill,stop --trials 6' is a short pass. Disks need root.
chaos: $(READY)
	$(VENV)/bin/python tests/chaos/chaos.py $(CHAOS)

# Half an hour of one run, whose memory and open files must not grow.
soak: $(READY)
	$(VENV)/bin/python tests/chaos/chaos.py --only soak

# A training step beside transformers' Trainer: an hour; BENCH='--case C1a --rounds 1', '--losses'; any other case by its name.
bench: $(VENV)/.encoder
	$(VENV)/bin/python tests/bench/bench.py $(BENCH)

# The same on a GPU, SQuAD and Shakespeare's characters, from what BENCH='--pack' made; BENCH_PYTHON=python3 needs no set-up.
bench-gpu:
	PYTHONPATH=. $(BENCH_PYTHON) tests/bench/gpu.py $(BENCH)

# Text to ids on disk beside the tokenizers library and run_mlm's path, ids compared; BENCH='--kinds wordpiece --runs 1'.
bench-text: $(READY)
	$(VENV)/bin/python tests/bench/text.py $(BENCH)

# Seconds of --help and to the first step; what batches cost beside a step: 3 minutes.
bench-start: $(READY)
	$(VENV)/bin/python tests/bench/start.py $(BENCH)

# What makes the budget recipes quick learners, and the Trainer's 20 minutes: hours; BENCH='--of bert --minutes 1', '--race'.
bench-learning: $(READY)
	$(VENV)/bin/python tests/bench/learning.py $(BENCH)

# Time and memory of a store of 2 GB and of 10 million sentences of rows; BENCH='--size 50' is a short pass.
bench-store: $(READY)
	$(VENV)/bin/python tests/bench/store.py $(BENCH)

# Whole fine-tuning commands beside the Trainer's scripts: an hour and a half; BENCH='--rounds 1 --examples 300'.
bench-command: $(VENV)/.encoder
	$(VENV)/bin/python tests/bench/command.py $(BENCH)

# Fine-tuning beside transformers' Trainer, its scores and its speed; BENCH='--only speed'.
bench-finetune: $(VENV)/.encoder
	$(VENV)/bin/python tests/bench/finetune.py $(BENCH)

# SQuAD and KorQuAD beside transformers' Trainer: hours; BENCH='--only speed --examples 300', '--only decode'.
bench-squad: $(VENV)/.encoder
	$(VENV)/bin/python tests/bench/squad.py $(BENCH)

# Every data set of ../shared/data, end to end; BENCH='--only mrpc,klue-ner'.
bench-tasks: $(VENV)/.encoder
	$(VENV)/bin/python tests/bench/every_task.py $(BENCH)

$(VENV)/.encoder: $(READY)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	touch $@

audit: $(READY)
	$(VENV)/bin/pip-audit --requirement constraints.txt

# Everything the project needs, in the versions it was tested with.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ptk needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade pip
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[eval,dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
