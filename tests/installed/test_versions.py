# SPDX-License-Identifier: GPL-2.0-or-later
"""
pagedbg as it is installed, out of its wheel, where nothing of the checkout can be
imported: on the oldest Python that it supports with the lowest versions of what it
depends on, and on that of a new Debian with the newest.

On this machine's own Python all the other tests run. Those marked ``once`` are left out
here: they take seconds, and hang on no version.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import roots
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from wheels import ROOT, TOOLS, NoWheelsError, Versions, dependencies, wheels

# Each release's Python.
PYTHONS = {"bookworm": "3.11", "trixie": "3.13"}

# Whatever hangs.
PATIENCE = 1800.0

# As `make install` does it, but for where the wheels are from; then the tests, to which
# a warning about numbers or about what will go away is an error.
SCRIPT = """
set -e
cd /srv/checkout
contrib/environment /usr/bin/python3 /opt/pagedbg --no-index --find-links /srv/wheels --find-links /srv/wheel pagedbg "$@"
PATH=/opt/pagedbg/bin:$PATH
python -P - <<'END'
import importlib.metadata, json, pagedbg
versions = {each.name: each.version for each in reversed([*importlib.metadata.distributions()])}
print(json.dumps([pagedbg.__file__, versions]))
END
export HYPOTHESIS_STORAGE_DIRECTORY=/tmp/hypothesis
# Python warns of pexpect's forkpty() in a process with threads.
export PYTHONWARNINGS="error::RuntimeWarning,error::FutureWarning,error::SyntaxWarning,error::DeprecationWarning,ignore:This process:DeprecationWarning"
exec python -P -m pytest -q -n 0 -p no:cacheprovider -m 'not once' tests/unit tests/dump
"""  # noqa: E501


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with pagedbg's wheel."""
    made = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--no-build-isolation",
    ]
    subprocess.run([*command, f"--wheel-dir={made}", "--no-index", ROOT], check=True)
    return made


@pytest.fixture(scope="session")
def tests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tests, and what they look at of a checkout, without pagedbg."""
    made = tmp_path_factory.mktemp("checkout")
    for name in ("README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, made)
    (made / "contrib").mkdir()
    documents = ("schema.md", "snapshot-format.md", "support.md")
    pictures = ("pagedbg.svg", "map.svg", "report.png")
    for name in ("environment", "picture", *documents, *pictures):
        shutil.copy(ROOT / "contrib" / name, made / "contrib")
    for name in ("fleet", "fuzz", "incidents"):
        shutil.copytree(
            ROOT / "contrib" / name,
            made / "contrib" / name,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    shutil.copytree(
        ROOT / "tests",
        made / "tests",
        ignore=shutil.ignore_patterns("vm", "installed", "__pycache__"),
    )
    return made


@pytest.mark.parametrize(
    ("suite", "versions"), [("bookworm", "lowest"), ("trixie", "newest")]
)
def test_what_needs_no_guest_passes_out_of_an_installed_wheel(
    suite: str, versions: Versions, wheel: Path, tests: Path
) -> None:
    try:
        root = roots.make(suite, say=print)
        binds = {
            "/srv/wheels": wheels(PYTHONS[suite], versions),
            "/srv/wheel": wheel,
            "/srv/checkout": tests,
        }
        command = ["sh", "-c", SCRIPT, "sh", *TOOLS]
        done = roots.run(
            root,
            command,
            binds=binds,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
    except (roots.LabError, NoWheelsError) as error:
        pytest.fail(str(error), pytrace=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    said, *_, summary = done.stdout.splitlines()
    path, found = json.loads(said)
    installed = {canonicalize_name(name): version for name, version in found.items()}
    assert (
        path
        == f"/opt/pagedbg/lib/python{PYTHONS[suite]}/site-packages/pagedbg/__init__.py"
    )
    for each in map(Requirement, dependencies(versions)):
        assert each.specifier.contains(installed[canonicalize_name(each.name)]), each
    assert "skipped" not in summary
