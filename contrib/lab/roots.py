# SPDX-License-Identifier: GPL-2.0-or-later
"""
Root file systems of Debian releases, made with mmdebstrap and kept in the lab's cache:
where another Python is than on this machine.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from archive import Archive, install
from cache import LabError, cache_root, locked

# What README.md asks for and pagedbg then installs, what the tests need, and what finds
# HTTPS certificates.
PACKAGES = [
    *("git", "make", "python3", "python3-bpfcc", "python3-venv"),
    *("bpftool", "dwarves", "gcc", "less", "libc6-dev", "tmux", "xz-utils", "zstd"),
    "ca-certificates",
]

# Raised when the recipe below makes other roots than before.
RECIPE = 1

# What is written goes to memory, and is gone when the last process ends; so are the
# mounts.
ENTER = """
set -e
base=$1 over=$2 binds=$3
shift 3
mount -t tmpfs tmpfs "$over"
mkdir "$over/upper" "$over/work" "$over/root"
mount -t overlay -o "lowerdir=$base,upperdir=$over/upper,workdir=$over/work" overlay "$over/root"
mount --rbind /dev "$over/root/dev"
mount -t proc proc "$over/root/proc"
mount -t sysfs -o ro sysfs "$over/root/sys"
while [ "$binds" -gt 0 ]; do
	mkdir -p "$over/root$2"
	mount --rbind "$1" "$over/root$2"
	mount -o remount,bind,ro "$over/root$2"
	shift 2
	binds=$((binds - 1))
done
exec chroot "$over/root" env -i HOME=/root LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM="${TERM:-dumb}" "$@"
"""  # noqa: E501


def directory(suite: str) -> Path:
    """Where the root of a Debian release, such as ``trixie``, is or would be."""
    key = hashlib.sha256(f"{RECIPE} {PACKAGES}".encode()).hexdigest()[:8]
    return cache_root() / "roots" / f"{suite}-{key}"


def make(suite: str, *, say: Callable[[str], None]) -> Path:
    """
    Return the root of a Debian release, made if the cache has none: that takes a minute
    or two, a network and 600 MB.

    :raises LabError: if it is not there and cannot be made
    """
    made = directory(suite)
    if made.exists():
        return made
    if os.geteuid():
        raise LabError(
            f"only root can make a root file system of {suite}: run this as root once,"
            f" it is kept in {made}."
        )
    with locked(
        made.parent / ".lock",
        lambda: say("another process is making a root file system: waiting for it"),
    ):
        if made.exists():
            return made
        install(["mmdebstrap"], say=say)
        mirror = Archive().mirrors()["Debian"]
        say(f"{suite}: making a root file system with Python")
        half = made.with_name(made.name + ".new")
        shutil.rmtree(half, ignore_errors=True)
        run = subprocess.run(
            [
                *(
                    "mmdebstrap",
                    "--quiet",
                    "--variant=minbase",
                    f"--include={','.join(PACKAGES)}",
                ),
                *(
                    '--aptopt=APT::Sandbox::User "root"',
                    suite,
                    str(half),
                    f"deb {mirror} {suite} main",
                ),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if run.returncode:
            shutil.rmtree(half, ignore_errors=True)
            why = next(
                (
                    line[3:]
                    for line in run.stderr.splitlines()
                    if line.startswith("E: ")
                ),
                f"status {run.returncode}",
            )
            raise LabError(
                f"there is no root file system of {suite} in the cache, and mmdebstrap"
                f" could not make one ({why}): run this once with a network."
            )
        for older in made.parent.glob(f"{suite}-????????"):
            shutil.rmtree(older)
        half.rename(made)
    return made


def packages(suite: str, names: Sequence[str], *, say: Callable[[str], None]) -> Path:
    """
    The directory with more packages of a Debian release, a layer for :func:`run`:
    downloaded with apt, without what they depend on, unless the cache has them.

    :raises LabError: if they are not there and cannot be downloaded
    """
    directory = cache_root() / "packages" / "-".join((suite, *names))
    with locked(
        directory.parent / ".lock",
        lambda: say("another process is downloading: waiting for it"),
    ):
        if not directory.exists():
            half = directory.with_name(f"{directory.name}.new")
            shutil.rmtree(half, ignore_errors=True)
            archive = Archive(suites={"Debian": (suite,)})
            say(f"asking Debian for packages of {suite}")
            archive.update()
            for deb in archive.download(list(names), half):
                subprocess.run(["dpkg-deb", "-x", deb, half], check=True)
                deb.unlink()
            half.rename(directory)
    return directory


def run(
    root: Path,
    command: Sequence[str],
    *,
    layers: Sequence[Path] = (),
    binds: Mapping[str, Path] | None = None,
    **more: object,
) -> subprocess.CompletedProcess[str]:
    """
    Run a command as root in a root file system, with its output as text; whatever it
    writes vanishes.

    :param layers: what lies over its files
    :param binds: directories of this machine that it may read, by where it finds them
    :param more: for :func:`subprocess.run`
    :raises LabError: for whoever is not root
    """
    if os.geteuid():
        raise LabError("only root can enter a root file system: run this as root.")
    pairs = [
        str(part)
        for inside, outside in (binds or {}).items()
        for part in (outside, inside)
    ]
    with tempfile.TemporaryDirectory(prefix="pagedbg-root-") as over:
        return subprocess.run(
            [
                *(
                    "unshare",
                    "--mount",
                    "--pid",
                    "--fork",
                    "--kill-child",
                    "sh",
                    "-c",
                    ENTER,
                    "sh",
                ),
                ":".join(map(str, (*layers, root))),
                *(over, str(len(pairs) // 2), *pairs, *command),
            ],
            text=True,
            **more,  # type: ignore[call-overload]
        )
