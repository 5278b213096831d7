# SPDX-License-Identifier: GPL-2.0-or-later
"""
Build the lab's kernels from Debian's ``linux-source`` packages and keep them in a cache
outside the checkout.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path

from archive import Archive, install
from cache import LabError, cache_root, locked

HERE = Path(__file__).resolve().parent
FRAGMENT = HERE / "lab.config"
# Raised when the recipe below changes what a build directory holds, so that old caches
# are not taken for new ones.
RECIPE = 1

STOCK = "stock-"
"""What names of Debian's own kernels begin with: ``stock-6.12``, ``stock-6.12-rt``."""

ARM64 = "arm64"
"""
The variant for another machine, which stands first in names: ``arm64-6.12``. It is
cross-built. ``arm64-64k-6.12`` is a variant of that.
"""

# Lines that make prints for one kernel; only for the estimate on the progress line.
STEPS = 2450

BUILD_PACKAGES = [
    "bc",
    "bison",
    "build-essential",
    "cpio",
    "dwarves",
    "flex",
    "kmod",
    "libelf-dev",
    "libssl-dev",
    "rsync",
    "xz-utils",
]
CROSS_PACKAGES = ["gcc-aarch64-linux-gnu"]

# What remains of the source tree once the kernel is built: enough to build modules (the
# list follows Kbuild's own scripts/package/install-extmod-build), the images, and
# vmlinux for BTF of modules and for DWARF as a test's oracle.
KEEP_FILES = (
    "Makefile",
    "Kbuild",
    "Kconfig",
    ".config",
    "Module.symvers",
    "System.map",
    "vmlinux",
)
KEEP_TREES = (
    "include",
    "scripts",
    "arch/x86/include",
    "arch/x86/entry/syscalls",
    "arch/arm64/include",
    "tools/objtool/objtool",
    "tools/bpf/resolve_btfids/resolve_btfids",
)


@dataclasses.dataclass(frozen=True)
class Kernel:
    """
    One built kernel: ``series`` (``6.12``), the source package's ``version``, its build
    ``directory``, and which ``variant`` it is, if one.
    """

    series: str
    version: str
    directory: Path
    variant: str = ""

    @property
    def arch(self) -> str:
        """The kernel's own name of the machine: a directory below ``arch``."""
        return ARM64 if self.variant.startswith(ARM64) else "x86"

    @property
    def image(self) -> Path:
        return self.directory / _image(self.arch)

    @property
    def make_environment(self) -> dict[str, str]:
        """What make is run with, for it and for modules."""
        cross = {"ARCH": ARM64, "CROSS_COMPILE": "aarch64-linux-gnu-"}
        return {**os.environ, **(cross if self.arch == ARM64 else {})}

    @property
    def build_directory(self) -> Path:
        """What modules are built with."""
        return self.directory

    @property
    def vmlinux(self) -> Path:
        return self.directory / "vmlinux"

    @property
    def page_owner_sort(self) -> Path:
        return self.directory / "page_owner_sort"


def _image(arch: str) -> str:
    return f"arch/{arch}/boot/{'Image' if arch == ARM64 else 'bzImage'}"


def split_name(name: str) -> tuple[str, str]:
    """Series and variant of a kernel: ``6.12-debug`` is a variant of 6.12."""
    if name.startswith(f"{ARM64}-"):
        variant, _, series = name.rpartition("-")
        return series, variant
    series, _, variant = name.partition("-")
    return series, variant


def fragments(variant: str) -> list[Path]:
    """
    What a variant is configured with; that called ``""`` is the one that most tests
    boot.
    """
    found = [FRAGMENT]
    for name in accumulate(variant.split("-"), "{}-{}".format) if variant else ():
        found.append(HERE / f"{name}.config")
        if not found[-1].exists():
            raise LabError(
                f"there is no variant {name!r}: {name}.config would be its"
                " configuration."
            )
    return found


def config_key(variant: str = "") -> str:
    """Eight hex digits that change with the configuration or the recipe."""
    return hashlib.sha256(
        b"".join(path.read_bytes() for path in fragments(variant)) + b"\0%d" % RECIPE
    ).hexdigest()[:8]


def series_key(series: str) -> tuple[int, ...]:
    return tuple(int(part) for part in series.split("."))


def cached(variant: str = "") -> list[Kernel]:
    """Every kernel that the cache holds for the present configuration, oldest first."""
    found = []
    for done in cache_root().glob(f"kernels/*-{config_key(variant)}/.done"):
        series, version = done.read_text().split()
        found.append(Kernel(series, version, done.parent, variant))
    return sorted(found, key=lambda k: (series_key(k.series), k.version))


def find(name: str) -> Kernel | None:
    """
    The cached kernel for ``6.1``, ``6.12``, another series, or ``newest``: the newest
    that Debian had when it was last asked. ``6.12-debug`` is a variant, ``stock-6.12``
    one of Debian's own (:mod:`stock`), ``arm64-6.12`` one for another machine.
    """
    if name.startswith(STOCK):
        import stock  # which imports this

        return stock.find(name)
    series, variant = split_name(name)
    if series == "newest":
        if not newest_file().exists():
            return None
        series = newest_file().read_text().strip()
    kernels = [k for k in cached(variant) if k.series == series]
    return kernels[-1] if kernels else None


def newest_file() -> Path:
    """
    Where the series that ``newest`` stands for is kept, so that a second build asks
    nobody.
    """
    return cache_root() / "newest"


def build(name: str, *, say: Callable[[str], None], update: bool = False) -> Kernel:
    """
    Return the kernel called ``name`` (see :func:`find`), building it if the cache has
    none.

    ``say`` is given progress, a sentence at a time. With ``update``, Debian is asked
    whether a newer source exists.
    """
    if not update and (kernel := find(name)):
        return kernel
    if name.startswith(STOCK):
        import stock  # which imports this

        return stock.fetch(name, say=say)
    series, variant = split_name(name)
    cross = CROSS_PACKAGES if variant.startswith(ARM64) else []
    install([*BUILD_PACKAGES, *cross], say=say)
    archive = Archive()
    say("asking Debian which kernel sources there are")
    archive.update()
    sources = archive.sources()
    newest = max(sources, key=series_key)
    newest_file().write_text(newest + "\n")
    series = newest if series == "newest" else series
    if series not in sources:
        raise LabError(
            f"Debian offers no linux-source-{series}; it has"
            f" {', '.join(sorted(sources, key=series_key))}."
        )
    version = sources[series]
    directory = cache_root() / "kernels" / f"{version}-{config_key(variant)}"
    kernel = Kernel(series, version, directory, variant)
    with locked(
        cache_root() / "kernels/.lock",
        lambda: say("another process is building: waiting for it"),
    ):
        if not (directory / ".done").exists():
            compile_kernel(archive, kernel, say=say)
    return kernel


def compile_kernel(
    archive: Archive, kernel: Kernel, *, say: Callable[[str], None]
) -> None:
    """
    Build one kernel into its directory; ``.done`` is written last, so a build that was
    cut short is begun again.
    """
    series, version, directory = kernel.series, kernel.version, kernel.directory
    shutil.rmtree(directory, ignore_errors=True)
    tree = directory.with_name(directory.name + ".build")
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    say(f"{series}: downloading linux-source-{series} {version}")
    (deb,) = archive.download([f"linux-source-{series}={version}"], tree.parent)
    say(f"{series}: unpacking")
    subprocess.run(
        f"dpkg-deb --fsys-tarfile '{deb}' | tar -xO"
        f" ./usr/src/linux-source-{series}.tar.xz | xz -dc -T0 | tar -x"
        f" --strip-components=1 -C '{tree}'",
        shell=True,
        check=True,
    )
    deb.unlink()
    configure(tree, kernel)
    log = tree / "build.log"
    started = time.monotonic()
    jobs = len(os.sched_getaffinity(0))
    environment = {
        **kernel.make_environment,
        "KBUILD_BUILD_TIMESTAMP": "2026-01-01",
        "KBUILD_BUILD_USER": "lab",
        "KBUILD_BUILD_HOST": "lab",
    }
    with log.open("w") as out:
        process = subprocess.Popen(
            ["make", f"-j{jobs}", kernel.image.name, "modules"],
            cwd=tree,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout
        for step, line in enumerate(process.stdout):
            out.write(line)
            if step % 20 == 0 and step:
                elapsed = time.monotonic() - started
                left = max(elapsed / step * (STEPS - step), 0)
                say(
                    f"{series}: compiling, {min(99, 100 * step // STEPS)} %,"
                    f" {elapsed / 60:.0f} min gone, about {left / 60:.0f} min left"
                )
        if process.wait():
            tail = "".join(log.read_text().splitlines(keepends=True)[-30:])
            raise LabError(
                f"Linux {version} did not build; the log is {log} and ends:\n{tail}"
            )
    reduce_tree(tree, kernel)
    (directory / ".done").write_text(f"{series} {version}\n")
    say(f"{series}: built in {(time.monotonic() - started) / 60:.0f} min")


def configure(tree: Path, kernel: Kernel) -> None:
    """
    Make ``.config`` from tinyconfig and the fragments, and check that what these ask
    for is there. Of an option in several of them, the last has the word.
    """
    asked = fragments(kernel.variant)
    quiet = {
        "cwd": tree,
        "check": True,
        "stdout": subprocess.DEVNULL,
        "env": kernel.make_environment,
    }
    subprocess.run(["make", "-s", "tinyconfig"], **quiet)
    subprocess.run(
        ["scripts/kconfig/merge_config.sh", "-m", ".config", *map(str, asked)],
        **quiet,
    )
    subprocess.run(["make", "-s", "olddefconfig"], **quiet)
    known = set(kconfig_symbols(tree, kernel.arch))
    config = set((tree / ".config").read_text().splitlines())
    lines = {
        m[1]: line
        for line in "\n".join(path.read_text() for path in asked).splitlines()
        if (m := re.match(r"(?:# )?CONFIG_(\w+)(?:=| is not set)", line))
    }
    lost = [
        line
        for name, line in lines.items()
        if name in known
        # A symbol whose menu is off leaves no line at all, which is as good as "is not
        # set".
        and line not in config
        and not (line.endswith("is not set") and f"CONFIG_{name}=y" not in config)
    ]
    if lost:
        raise LabError(
            f"these options did not survive olddefconfig: {', '.join(lost)}."
        )


def kconfig_symbols(tree: Path, arch: str) -> Iterator[str]:
    """What can be configured of a machine's kernel."""
    for path in tree.rglob("Kconfig*"):
        top, *below = path.relative_to(tree).parts
        if path.is_file() and (top != "arch" or below[0] in (arch, "Kconfig")):
            yield from re.findall(
                r"^\s*(?:menu)?config (\w+)",
                path.read_text(errors="replace"),
                re.MULTILINE,
            )


def reduce_tree(tree: Path, kernel: Kernel) -> None:
    """
    Move what guests and module builds need from ``tree`` to the kernel's directory and
    drop the rest.
    """
    directory = kernel.directory
    tools = tree / (
        "tools/mm" if (tree / "tools/mm/page_owner_sort.c").exists() else "tools/vm"
    )
    subprocess.run(
        [
            "gcc",
            "-O2",
            "-o",
            str(tree / "page_owner_sort"),
            str(tools / "page_owner_sort.c"),
        ],
        check=True,
    )
    directory.mkdir()
    makefiles = [
        str(p.relative_to(tree))
        for p in (tree / "arch" / kernel.arch).rglob("Makefile*")
    ]
    image = _image(kernel.arch)
    for name in (*KEEP_FILES, *KEEP_TREES, image, *makefiles, "page_owner_sort"):
        source, target = tree / name, directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(
                source,
                target,
                symlinks=True,
                ignore=shutil.ignore_patterns("*.o", "*.cmd", "*.a"),
            )
        elif source.exists():
            shutil.copy2(source, target)
    shutil.rmtree(tree)
