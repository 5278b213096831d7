# SPDX-License-Identifier: GPL-2.0-or-later
"""
Guests of another machine than this one: arm64, emulated by QEMU as its machine `virt`.

This machine's programs do not run there. So a user land of Debian's packages for arm64
lies over this machine's files: busybox, which is all commands, e2fsprogs, Python for
the agent, what a crash is dumped with, and what records with BPF.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from archive import Archive, install
from booting import ROOT_FLAGS, Booting
from cache import LabError, cache_root, locked
from kernels import Kernel
from stock import StockKernel, pack, put_modules

# Raised when the recipe below unpacks something else than before.
RECIPE = 3

QEMU = "qemu-system-aarch64"

SUITES = {"Debian": ("trixie",)}
PACKAGES = (
    *("busybox-static", "e2fsprogs", "kexec-tools", "libblkid1", "libbz2-1.0", "libc6"),
    *("libcom-err2", "libdw1t64", "libelf1t64", "libexpat1", "libext2fs2t64"),
    *("liblzma5", "liblzo2-2", "libpython3.13-minimal", "libpython3.13-stdlib"),
    *("libss2", "libuuid1", "libxencall1", "libxendevicemodel1", "libxenevtchn1"),
    *("libxenforeignmemory1", "libxengnttab1", "libxenmisc4.20", "libxentoolcore1"),
    *("libxentoollog1", "libzstd1", "makedumpfile", "python3.13-minimal", "zlib1g"),
    # bcc, and numpy and msgspec beside it
    *("libblas3", "libbpf1", "libbpfcc", "libbsd0", "libclang-cpp19", "libedit2"),
    *("libffi8", "libgcc-s1", "libgfortran5", "liblapack3", "libllvm19", "libmd0"),
    *("libstdc++6", "libtinfo6", "libxml2", "libz3-4", "python3-bpfcc"),
    *("python3-msgspec", "python3-numpy"),
)
# What packages leave to update-alternatives.
ALTERNATIVES = ("blas/libblas.so.3", "lapack/liblapack.so.3")
PYTHON = "/usr/bin/python3.13"

# Where nothing of this machine's comes before busybox.
PATH = "/usr/sbin:/usr/bin"

# As many servers are: 48 bits of address, and atomic instructions. Newer ones that QEMU
# knows sign their pointers, which is slow to emulate.
CPU = "neoverse-n1"

# Only busybox runs before there is a root file system. Its commands are above those of
# this machine's, but for what others of the packages have; what the guest writes is in
# its memory.
INIT = """\
#!/bin/busybox sh
export PATH=/bin
mount -t proc proc /proc
if [ -e /modules ]; then
	for module in $(cat /modules/order); do insmod /modules/$module; done
fi
mount -t 9p -o ro,$FLAGS host /host
mount -t 9p -o ro,$FLAGS own /own
mount -t tmpfs tmpfs /memory
mkdir -p /memory/work /memory/upper/usr/bin /memory/upper/usr/sbin /memory/upper/usr/lib/modules
busybox --install -s /memory/upper/usr/bin
busybox --install -s /memory/upper/usr/sbin
cd /own/usr/bin; other=$(echo *); cd ../sbin; other="$other $(echo *)"
cd /memory/upper/usr/bin; rm -f $other; cd ../sbin; rm -f $other; cd /
ln -s python3.13 /memory/upper/usr/bin/python3
ln -s $MODULES /memory/upper/usr/lib/modules/$(uname -r)
mount -t overlay -o lowerdir=/own:/host,upperdir=/memory/upper,workdir=/memory/work root /root
mount -t proc proc /root/proc
mount -t sysfs sysfs /root/sys
mount -t debugfs debugfs /root/sys/kernel/debug
mount -t tracefs tracefs /root/sys/kernel/tracing
mount -t cgroup2 cgroup2 /root/sys/fs/cgroup
mount -t bpf bpf /root/sys/fs/bpf
mount -t devtmpfs devtmpfs /root/dev
mkdir -p /root/dev/pts
mount -t devpts devpts /root/dev/pts
ln -s /proc/self/fd /root/dev/fd
mount -t tmpfs tmpfs /root/run
hostname lab
$MOUNTS
umount /proc
# The shell stays, to bury whose parents have ended before them.
exec switch_root /root /bin/sh -c $AGENT
"""  # noqa: E501
_TOOLS = (
    *("cat", "hostname", "insmod", "ln", "mkdir", "mount", "rm", "sh", "switch_root"),
    *("umount", "uname"),
)
_DIRECTORIES = ("bin", "host", "memory", "own", "proc", "root")

_SHARED = "version=9p2000.L,trans=virtio,access=any,msize=512000"


def command(booting: Booting) -> list[str]:
    """QEMU's command line, as virtme-ng makes it for guests like this machine."""
    own = user_land(say=booting.say)
    shares = [_share("host", Path("/")), _share("own", own)]
    mounts = []
    for number, directory in enumerate(booting.rw):
        shares.append(_share(f"rw{number}", Path(directory), writable=True))
        there = shlex.quote(f"/root{directory}")
        mounts.append(f"mount -t 9p -o {_SHARED} rw{number} {there}")
    words = {
        "FLAGS": ROOT_FLAGS,
        "MODULES": shlex.quote(str(booting.modules)),
        "MOUNTS": "\n".join(mounts),
        "AGENT": shlex.quote(
            f"{shlex.join([PYTHON, '-IS', str(booting.agent)])}; exit"
        ),
    }
    init = INIT
    for name, text in words.items():
        init = init.replace(f"${name}", text)
    initramfs = booting.scratch / "initramfs"
    _make_initramfs(initramfs, init, own, booting.kernel)
    line = ["console=ttyAMA0", "panic=-1", *booting.append]
    return [
        *(QEMU, "-machine", "virt", "-cpu", CPU),
        *("-m", booting.memory, "-smp", str(booting.cpus)),
        *("-name", "lab", "-nodefaults", "-no-reboot", "-display", "none"),
        *("-kernel", str(booting.kernel.image), "-initrd", str(initramfs)),
        *("-append", " ".join(line)),
        *("-chardev", f"file,id=console,path={booting.scratch / 'console'}"),
        *("-serial", "chardev:console"),
        *(word for share in shares for word in share),
    ]


def _share(tag: str, path: Path, *, writable: bool = False) -> list[str]:
    """A directory of this machine's that the guest can mount."""
    comma = str(path).replace(",", ",,")
    options = "" if writable else ",readonly=on"
    return [
        "-fsdev",
        f"local,id={tag},path={comma},security_model=none,multidevs=remap{options}",
        "-device",
        f"virtio-9p-pci,fsdev={tag},mount_tag={tag}",
    ]


def user_land(*, say: Callable[[str], None]) -> Path:
    """
    The directory with Debian's programs for arm64, downloaded with apt unless the cache
    has it.
    """
    directory = cache_root() / f"arm64-{RECIPE}"
    with locked(
        directory.with_name(".arm64.lock"),
        lambda: say("another process is downloading: waiting for it"),
    ):
        if not (directory / ".done").exists():
            _unpack(directory, say=say)
    return directory


def _unpack(directory: Path, *, say: Callable[[str], None]) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    install(["cpio"], say=say)
    archive = Archive("arm64", SUITES)
    say("asking Debian for programs for arm64")
    archive.update()
    for deb in archive.download(list(PACKAGES), directory):
        subprocess.run(["dpkg-deb", "-x", deb, directory], check=True)
        deb.unlink()
    libraries = directory / "usr/lib/aarch64-linux-gnu"
    for name in ALTERNATIVES:
        (libraries / Path(name).name).symlink_to(name)
    (directory / ".done").touch()


def _make_initramfs(path: Path, init: str, own: Path, kernel: Kernel) -> None:
    """Pack busybox, what it is told to do first, and the modules which that takes."""
    tree = path.with_name("initramfs.tree")
    for name in _DIRECTORIES:
        (tree / name).mkdir(parents=True)
    shutil.copy(own / "usr/bin/busybox", tree / "bin/busybox")
    for name in _TOOLS:
        (tree / "bin" / name).symlink_to("busybox")
    (tree / "init").write_text(init)
    (tree / "init").chmod(0o755)
    if isinstance(kernel, StockKernel):
        put_modules(kernel, tree / "modules")
    pack(tree, path)
    shutil.rmtree(tree)


def need_qemu(*, say: Callable[[str], None]) -> None:
    """Have what emulates the machine."""
    if not shutil.which(QEMU):
        install(["qemu-system-arm"], say=say)


def refuse_kvm() -> None:
    """:raises LabError: since KVM runs no other machine's kernels"""
    raise LabError(f"KVM cannot run arm64 on {os.uname().machine}: leave out --kvm.")
