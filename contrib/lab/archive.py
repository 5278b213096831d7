# SPDX-License-Identifier: GPL-2.0-or-later
"""
Packages of Debian releases: found and downloaded with apt, which checks Debian's
signatures, beside what this machine has; and those that are installed here.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cache import LabError, cache_root

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SUITES = {
    "Debian": ("bookworm", "trixie", "trixie-backports", "sid"),
    "Debian-Security": ("bookworm-security", "trixie-security"),
}


class Archive:
    """
    Debian suites beside the machine's own, in an apt state of the lab's own: the
    system's stays as it is. With ``architecture``, packages are another machine's.
    """

    def __init__(
        self,
        architecture: str = "",
        suites: Mapping[str, Sequence[str]] = SUITES,
    ) -> None:
        self.suites = suites
        few = (
            []
            if suites is SUITES
            else [name for each in suites.values() for name in each]
        )
        self.root = cache_root() / "-".join(filter(None, ("apt", architecture, *few)))
        self.options = [
            f"-oDir::Etc::sourcelist={self.root / 'sources.list'}",
            "-oDir::Etc::sourceparts=/dev/null",
            "-oDir::Etc::preferences=/dev/null",
            "-oDir::Etc::preferencesparts=/dev/null",
            f"-oDir::State::lists={self.root / 'lists'}",
            f"-oDir::Cache={self.root / 'cache'}",
        ]
        if architecture:
            self.options += [
                f"-oAPT::Architecture={architecture}",
                f"-oAPT::Architectures={architecture}",
            ]

    def mirrors(self) -> dict[str, str]:
        """
        The machine's own mirrors of Debian and of its security archive, by label, asked
        of apt.
        """
        targets = subprocess.run(
            [
                "apt-get",
                "indextargets",
                "--format",
                "$(REPO_URI) $(LABEL)",
                "Created-By: Packages",
            ],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        pairs = (line.split(maxsplit=1) for line in targets.splitlines())
        mirrors = {label: uri for uri, label in pairs if label in SUITES}
        if "Debian" not in mirrors:
            raise LabError(
                "apt knows no Debian mirror: run `apt-get update` on a machine that has"
                " one, then try again."
            )
        return mirrors

    def update(self) -> None:
        """Fetch the package lists of all suites."""
        for part in ("lists/partial", "cache/archives/partial"):
            (self.root / part).mkdir(parents=True, exist_ok=True)
        (self.root / "sources.list").write_text(
            "".join(
                f"deb [signed-by={KEYRING}] {uri} {suite} main\n"
                for label, uri in self.mirrors().items()
                for suite in self.suites.get(label, ())
            )
        )
        run = subprocess.run(
            ["apt-get", *self.options, "update"], capture_output=True, text=True
        )
        if run.returncode:
            raise LabError(
                "apt could not fetch Debian's package lists:"
                f" {run.stderr.strip().splitlines()[-1]}"
            )

    def sources(self) -> dict[str, str]:
        """The newest version of every ``linux-source-SERIES`` package, by series."""
        versions: dict[str, str] = {}
        for package, version in self.packages(r"linux-source-\d+\.\d+"):
            series = package.removeprefix("linux-source-")
            if series not in versions or newer(version, versions[series]):
                versions[series] = version
        return versions

    def packages(self, name: str) -> list[tuple[str, str]]:
        """Names and versions of the packages whose name matches an expression."""
        dump = subprocess.run(
            ["apt-cache", *self.options, "dumpavail"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        return re.findall(
            rf"^Package: ({name})\n(?:.+\n)*?Version: (\S+)", dump, re.MULTILINE
        )

    def depends(self, package: str, name: str) -> list[str]:
        """
        What a package depends on, of what matches an expression, as apt takes it: with
        its version where that is said.
        """
        show = subprocess.run(
            ["apt-cache", *self.options, "show", package],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        depends = re.search(r"^Depends: (.*)", show, re.MULTILINE)
        found = re.findall(
            rf"(?:^|, )({name})(?: \(= (\S+)\))?", depends[1] if depends else ""
        )
        return [f"{one}={version}" if version else one for one, version in found]

    def download(self, packages: list[str], into: Path) -> list[Path]:
        """
        Fetch packages, each with ``=VERSION`` if it has to be that, and return the
        paths of their files.
        """
        into.mkdir(parents=True, exist_ok=True)
        run = subprocess.run(
            [
                "apt-get",
                *self.options,
                "-oAPT::Sandbox::User=root",
                "download",
                *packages,
            ],
            cwd=into,
            capture_output=True,
            text=True,
        )
        if run.returncode:
            raise LabError(
                f"apt could not download {' '.join(packages)}:"
                f" {run.stderr.strip().splitlines()[-1]}"
            )
        names = (package.partition("=")[0] for package in packages)
        return [next(into.glob(f"{name}_*.deb")) for name in names]


def newer(a: str, b: str) -> bool:
    return subprocess.run(["dpkg", "--compare-versions", a, "gt", b]).returncode == 0


def install(
    packages: tuple[str, ...] | list[str], *, say: Callable[[str], None]
) -> None:
    """Install what is missing of ``packages`` with apt."""
    status = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *packages],
        capture_output=True,
        text=True,
    ).stdout
    have = {
        line.split()[0] for line in status.splitlines() if line.endswith(" installed")
    }
    missing = [p for p in packages if p not in have]
    if not missing:
        return
    if os.geteuid():
        raise LabError(
            "these packages are missing and only root can install them:"
            f" {' '.join(missing)}."
        )
    say(f"installing {' '.join(missing)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", *missing]):
        run = subprocess.run(
            ["apt-get", "-q", *command], env=environment, capture_output=True, text=True
        )
    if run.returncode:
        raise LabError(
            f"apt could not install {' '.join(missing)}:"
            f" {run.stderr.strip().splitlines()[-1]}"
        )
