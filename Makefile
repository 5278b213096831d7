# make run      open the prompt: on this kernel if it tracks page owners, else on the bundled sample dump
# make install  put pagedbg on root's PATH, with a man page, completion for bash, zsh and fish, and an alias for crash
# make deb      make a Debian package for the release that this runs on, in build/deb, and have lintian look at it (a few minutes)
# make dkms     have DKMS build, sign and install the kernel module, now and for later kernels
# make test     all tests; builds the kernels they boot if the cache has none (50 minutes, once)
# make test-all the same, and what the others ask of more kernels: Debian's own (0.6 GB are downloaded, once), arm64 ones, and the newest with allocation tags
# make check    the tests that boot no kernel, but for the longest (a minute and a half)
# make test-fleet the questions of a fleet on Spark (PySpark, 450 MB, and Java are installed, once)
# make versions those again, out of an installed wheel: on an old Python with old libraries, on a new one with new ones (3 minutes)

PYTHON := /usr/bin/python3
VENV := .venv
PREFIX := /usr/local
# A process for each CPU: tests/schedule.py.
PYTEST := $(VENV)/bin/pytest -n auto --durations 10

.PHONY: run install uninstall deb dkms test test-all check test-fleet versions lint kernels roots clean

run: $(VENV)/.run
	@contrib/run $(VENV)/bin/pagedbg

install:
	@contrib/packages python3-bpfcc python3-venv
	@contrib/environment $(PYTHON) $(PREFIX)/lib/pagedbg '.[completions]'
	install -d $(PREFIX)/bin $(PREFIX)/share/man/man1
	ln -sf $(PREFIX)/lib/pagedbg/bin/pagedbg $(PREFIX)/bin/pagedbg
	$(PREFIX)/lib/pagedbg/bin/python3 -I contrib/manual >$(PREFIX)/share/man/man1/pagedbg.1
	$(PREFIX)/lib/pagedbg/bin/python3 -I contrib/completions $(PREFIX)/share
	install -d $(PREFIX)/share/pagedbg
	sed 's|/usr/local|$(PREFIX)|' contrib/crash/crashrc >$(PREFIX)/share/pagedbg/crashrc

deb:
	@contrib/packages build-essential debhelper dh-python dpkg-dev lintian python3-bpfcc python3-venv
	contrib/deb build/deb

dkms:
	@contrib/packages dkms
	contrib/dkms

uninstall:
	rm -rf $(PREFIX)/lib/pagedbg $(PREFIX)/share/pagedbg $(PREFIX)/bin/pagedbg $(PREFIX)/share/man/man1/pagedbg.1
	cd $(PREFIX)/share && rm -f bash-completion/completions/pagedbg zsh/site-functions/_pagedbg fish/vendor_completions.d/pagedbg.fish

test: lint kernels roots
	$(PYTEST) -m 'not rare'

test-all: lint kernels roots
	contrib/lab/lab build newest-tags stock-6.1 stock-newest stock-6.12-rt stock-6.12-cloud arm64-6.12 arm64-64k-6.12 stock-newest-arm64-16k
	$(PYTEST)

check: lint
	$(PYTEST) -m 'not long' tests/unit tests/dump

test-fleet: $(VENV)/.fleet
	$(VENV)/bin/pytest tests/spark

versions: $(VENV)/.test roots
	$(PYTEST) tests/installed

lint: $(VENV)/.test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/clang-format --dry-run --Werror $$(git ls-files '*.[ch]')

kernels: $(VENV)/.test
	contrib/lab/lab build 6.1 6.12 newest 6.12-debug 6.12-tags

roots:
	@contrib/lab/lab root bookworm
	@contrib/lab/lab root trixie

$(VENV)/.run: pyproject.toml contrib/environment
	@contrib/packages python3-bpfcc python3-venv
	@contrib/environment $(PYTHON) $(VENV) --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.run
	@contrib/packages bash-completion bpftool chromium crash dwarves fish gcc less libc6-dev make mandoc python3-bpfcc tmux zsh
	@contrib/environment $(PYTHON) $(VENV) --editable '.[dev]'
	@touch $@

$(VENV)/.fleet: $(VENV)/.test
	@contrib/packages default-jre-headless
	@contrib/environment $(PYTHON) $(VENV) --editable '.[dev,fleet]'
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
