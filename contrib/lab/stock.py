# SPDX-License-Identifier: GPL-2.0-or-later
"""
Debian's own kernels as kernels of the lab: unpacked from its packages into the cache,
with their modules and headers, and not built. Of another machine's, headers are left
out, since what they build with does not run here.

They have no vmlinux with debug info, and most of what the lab needs of them is in
modules. So they boot with an initramfs that loads those and mounts this machine's files
as the root file system.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import kernels
from archive import Archive, install, newer
from cache import LabError, cache_root, locked
from kernels import ARM64, STOCK, Kernel

# Raised when the recipe below unpacks something else than before.
RECIPE = 2

# What a guest needs before it has a root file system, and what tells QEMU where the
# kernel's vmcoreinfo is; a flavour may have some of it built in.
MODULES = (
    "virtio_pci",
    "virtio_console",
    "9pnet_virtio",
    "9p",
    "overlay",
    "qemu_fw_cfg",
)
_OF_9P = ("9pnet_virtio", "9p")

# Packages that a kernel's image and headers are spread over.
_PARTS = r"linux-(?:base|binary|modules|headers|kbuild)-[^\s,]+"

# In the initramfs there is nothing but busybox and the modules. What the kernel was
# told last of the root file system counts, as for the kernel itself.
INIT = """\
#!/bin/busybox sh
export PATH=/bin
mount -t proc proc /proc
for word in $(cat /proc/cmdline); do
	case $word in
	rootflags=*) flags=${word#rootflags=} ;;
	init=*) init=${word#init=} ;;
	esac
done
for module in $(cat /modules/order); do insmod /modules/$module; done
mount -t $ROOT /dev/root /root
umount /proc
exec switch_root /root "$init" "$@"
"""
_TOOLS = ("sh", "mount", "umount", "cat", "insmod", "switch_root")


@dataclasses.dataclass(frozen=True)
class StockKernel(Kernel):
    """
    A kernel of Debian's: ``version`` is the package's, ``variant`` its flavour, and
    ``release`` what ``uname -r`` says.
    """

    release: str = ""

    @property
    def image(self) -> Path:
        return self.directory / "boot" / f"vmlinuz-{self.release}"

    @property
    def build_directory(self) -> Path:
        return self.directory / "usr/src" / f"linux-headers-{self.release}"

    @property
    def no_9p(self) -> bool:
        """Whether this machine's files come by way of :mod:`virtiofs`."""
        return self.variant == "cloud"

    @property
    def initramfs(self) -> Path:
        return self.directory / "initramfs"

    @property
    def modules(self) -> Path:
        """What is ``/lib/modules/$(uname -r)`` in the guest."""
        return self.directory / "usr/lib/modules" / self.release


def find(name: str) -> StockKernel | None:
    """
    The cached kernel for ``stock-6.12``, another series, ``stock-newest``, or one of
    another flavour, ``stock-6.12-rt``, ``stock-6.12-cloud`` or, of another machine,
    ``stock-6.12-arm64`` or ``stock-6.12-arm64-16k``: the newest that Debian had when it
    was last asked.
    """
    series, _, flavour = name.removeprefix(STOCK).partition("-")
    if series == "newest":
        if not kernels.newest_file().exists():
            return None
        series = kernels.newest_file().read_text().strip()
    found: StockKernel | None = None
    for kernel in cached():
        if (kernel.series, kernel.variant) == (series, flavour) and (
            found is None or newer(kernel.version, found.version)
        ):
            found = kernel
    return found


def cached() -> Iterator[StockKernel]:
    """Every kernel of Debian's own that the cache holds."""
    for done in sorted(_directory("*").parent.glob(f"{STOCK}*-{RECIPE}/.done")):
        series, flavour, version, release = done.read_text().rstrip("\n").split(" ")
        yield StockKernel(series, version, done.parent, flavour, release)


def _directory(release: str) -> Path:
    return cache_root() / "kernels" / f"{STOCK}{release}-{RECIPE}"


def fetch(name: str, *, say: Callable[[str], None]) -> StockKernel:
    """
    Return the newest kernel called ``name`` (see :func:`find`) that Debian has,
    downloaded with apt, which checks Debian's signatures, unless the cache has it.

    :raises LabError: if Debian has no such kernel, or it cannot be downloaded
    """
    series, _, flavour = name.removeprefix(STOCK).partition("-")
    install(["busybox-static", "cpio", "kmod", "xz-utils"], say=say)
    archive = Archive(ARM64 if flavour.startswith(ARM64) else "")
    say("asking Debian which kernels there are")
    archive.update()
    offered = {
        (of, release): version for of, release, version in _images(archive, flavour)
    }
    if series == "newest":
        series = max((of for of, _ in offered), key=kernels.series_key, default="")
    newest = ""
    for (of, release), version in offered.items():
        if of == series and (not newest or newer(version, offered[series, newest])):
            newest = release
    if not newest:
        has = sorted({of for of, _ in offered}, key=kernels.series_key)
        raise LabError(
            f"Debian's mirror has no kernel {name}; of this flavour it has"
            f" {', '.join(has) or 'none'}."
        )
    kernel = StockKernel(
        series, offered[series, newest], _directory(newest), flavour, newest
    )
    with locked(
        kernel.directory.parent / ".stock.lock",
        lambda: say("another process is downloading: waiting for it"),
    ):
        if not (kernel.directory / ".done").exists():
            _unpack(kernel, archive, say=say)
    return kernel


def _images(archive: Archive, flavour: str) -> Iterator[tuple[str, str, str]]:
    """Series, release and version of all kernels of a flavour that Debian offers."""
    ending = flavour if flavour.startswith(ARM64) else f"{flavour}-amd64".lstrip("-")
    for package, version in archive.packages(
        rf"linux-image-\d+\.\d+\.\d[^-\s]*(?:-\d[^-\s]*)?-{re.escape(ending)}"
    ):
        release = package.removeprefix("linux-image-")
        yield ".".join(release.split(".")[:2]), release, version


def _unpack(
    kernel: StockKernel, archive: Archive, *, say: Callable[[str], None]
) -> None:
    """
    Unpack a kernel's packages into its directory; ``.done`` is written last, so that
    what was cut short is begun again.
    """
    shutil.rmtree(kernel.directory, ignore_errors=True)
    kernel.directory.mkdir(parents=True)
    parts = ("image",) if kernel.arch == ARM64 else ("image", "headers")
    wanted = [f"linux-{part}-{kernel.release}={kernel.version}" for part in parts]
    for package in wanted:
        wanted += [
            each
            for each in archive.depends(package, _PARTS)
            if each.partition("=")[0]
            not in {known.partition("=")[0] for known in wanted}
        ]
    say(f"{kernel.release}: downloading {len(wanted)} packages")
    for deb in archive.download(wanted, kernel.directory):
        say(f"{kernel.release}: unpacking {deb.name}")
        subprocess.run(["dpkg-deb", "-x", deb, kernel.directory], check=True)
        deb.unlink()
    _mend(kernel)
    if kernel.arch != ARM64:
        say(f"{kernel.release}: making an initramfs")
        _make_initramfs(kernel)
    (kernel.directory / ".done").write_text(
        f"{kernel.series} {kernel.variant} {kernel.version} {kernel.release}\n"
    )


def _mend(kernel: StockKernel) -> None:
    """Have found here what the packages have installed below ``/usr``."""
    if not (lib := kernel.directory / "lib").exists():
        lib.symlink_to("usr/lib")
    elif not lib.is_symlink():
        shutil.copytree(
            lib, kernel.directory / "usr/lib", symlinks=True, dirs_exist_ok=True
        )
        shutil.rmtree(lib)
        lib.symlink_to("usr/lib")
    if not kernel.image.exists():
        kernel.image.parent.mkdir(exist_ok=True)
        shutil.move(kernel.modules / "vmlinuz", kernel.image)
    for name in ("build", "source"):
        (kernel.modules / name).unlink(missing_ok=True)
    if (makefile := kernel.build_directory / "Makefile").exists():
        makefile.write_text(
            makefile.read_text().replace("/usr/src/", f"{kernel.directory}/usr/src/")
        )
        (kernel.modules / "build").symlink_to(kernel.build_directory)
    subprocess.run(["depmod", "-b", kernel.directory, kernel.release], check=True)


def _make_initramfs(kernel: StockKernel) -> None:
    """Pack busybox and the modules that a guest boots with."""
    tree = kernel.directory / "initramfs.tree"
    for name in ("bin", "dev", "proc", "root"):
        (tree / name).mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "/bin/busybox", tree / "bin/busybox")
    for name in _TOOLS:
        (tree / "bin" / name).symlink_to("busybox")
    root = "virtiofs -o ro" if kernel.no_9p else "9p -o ro,$flags"
    (tree / "init").write_text(INIT.replace("$ROOT", root))
    (tree / "init").chmod(0o755)
    put_modules(kernel, tree / "modules")
    pack(tree, kernel.initramfs)
    shutil.rmtree(tree)


def put_modules(kernel: StockKernel, directory: Path) -> None:
    """Have there the modules that a guest boots with, and a list of them in order."""
    directory.mkdir()
    order = []
    for path in _modules(kernel):
        plain = path.name.removesuffix(".xz")
        if plain not in order:
            order.append(plain)
            packed = path.suffix == ".xz"
            data = (
                subprocess.run(
                    ["xz", "-dc", path], check=True, capture_output=True
                ).stdout
                if packed
                else path.read_bytes()
            )
            (directory / plain).write_bytes(data)
    (directory / "order").write_text("\n".join(order) + "\n")


def pack(tree: Path, initramfs: Path) -> None:
    """Make an initramfs of a directory."""
    names = sorted(str(path.relative_to(tree)) for path in tree.rglob("*"))
    with initramfs.open("wb") as out:
        subprocess.run(
            ["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"],
            input="\n".join(names).encode(),
            stdout=out,
            cwd=tree,
            check=True,
        )


def _modules(kernel: StockKernel) -> Iterator[Path]:
    """The files of :data:`MODULES` and of what they need, in the order to load them."""
    for name in MODULES:
        if kernel.no_9p and name in _OF_9P:
            continue
        found = subprocess.run(
            [
                *("modprobe", "-d", kernel.directory, "-S", kernel.release),
                *("-C", os.devnull, "--show-depends", name),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if found.returncode:
            raise LabError(
                f"Linux {kernel.release} has no module {name}, which a guest of the lab"
                " needs."
            )
        for path in re.findall(r"^insmod (\S+)", found.stdout, re.MULTILINE):
            yield Path(path)
