# make demo, make test and the rest set everything up by themselves, in .venv
SHELL := /bin/bash
STAMP := .venv/.installed
DOCS := .venv/.installed-docs
TYPES := .venv/.installed-types
RUN := .venv/bin

.PHONY: demo test lint types slow shifts bench docs ci clean

demo: $(STAMP)
	$(RUN)/bayescale demo

test: $(STAMP)
	$(RUN)/pytest -n auto -m "not slow"

slow: $(STAMP)
	$(RUN)/pytest -n auto -m slow

# the fast tests; those of them that depend on seeds under twenty shifts of every seed; and all with code for no
# processor in particular: none may pass by luck
SHIFTS ?= $(shell seq 1 20)
shifts: $(STAMP)
	$(RUN)/pytest -q -n auto -m "not slow" --list-seeded=.cache/seeded.txt
	@failed=; for shift in $(SHIFTS); do \
	  echo "== seeds shifted by $$shift"; \
	  BAYESCALE_SEED_SHIFT=$$shift $(RUN)/pytest -q -n auto -m "not slow" @.cache/seeded.txt || failed="$$failed $$shift"; \
	done; \
	echo "== generic processor"; \
	NUMBA_CPU_NAME=generic $(RUN)/pytest -q -n auto -m "not slow" || failed="$$failed generic"; \
	if [ -n "$$failed" ]; then echo "failed under:$$failed" >&2; exit 1; fi; echo "no failure"

lint: $(STAMP)
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .

# the whole package; half a minute the first time, then a second
types: $(TYPES)
	$(RUN)/mypy

bench: $(STAMP)
	$(RUN)/python -m benchmarks.speed

# the site, in site/; the notebooks and the commands of the tutorial are run for it
docs: $(DOCS)
	NO_MKDOCS_2_WARNING=1 $(RUN)/mkdocs build --strict --quiet
	@echo "built: site/index.html"

ci: lint types docs test slow

clean:
	rm -rf .venv .cache demo site

# the newest Python of 3.12 and later that is here: the one of .python-version, then versioned names, then uv
$(STAMP): pyproject.toml
	@set -e; \
	if command -v uv >/dev/null 2>&1; then uv venv -q --seed --clear .venv; else \
	  for candidate in python3 python3.13 python3.14 python3.12 "$$HOME"/.pyenv/versions/3.1[2-9]*/bin/python; do \
	    if command -v "$$candidate" >/dev/null 2>&1 && "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; \
	    then found="$$candidate"; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then echo "error: Python 3.12 or later is needed; install it, or uv, which fetches it" >&2; exit 1; fi; \
	  "$$found" -m venv --clear .venv; \
	fi
	$(RUN)/python -m pip install -q --disable-pip-version-check -e ".[test]"
	touch $(STAMP)

$(TYPES): $(STAMP)
	$(RUN)/python -m pip install -q --disable-pip-version-check -e ".[types]"
	touch $(TYPES)

$(DOCS): $(STAMP)
	$(RUN)/python -m pip install -q --disable-pip-version-check -e ".[docs]"
	touch $(DOCS)
