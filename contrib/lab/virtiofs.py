# SPDX-License-Identifier: GPL-2.0-or-later
"""
This machine's files for guests whose kernel has no 9p, as Debian's cloud kernels:
QEMU's virtiofsd has them, one for each directory, and ends when QEMU does.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from cache import LabError

DAEMON = Path("/usr/lib/qemu/virtiofsd")

# The daemon's root is a copy of this machine's that nobody else has, and that cannot be
# written to.
READ_ONLY = """\
mount --rbind / "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"
"""


def command(
    qemu: Sequence[str], *, memory: str, rw: Sequence[str], scratch: Path
) -> list[str]:
    """
    What starts QEMU as virtme-ng would, and before it the daemons.

    :param rw: directories that the guest may write to
    :raises LabError: where there is no such daemon, or nobody may start it
    """
    if not DAEMON.exists() or os.geteuid():
        raise LabError(
            "a kernel without 9p is given this machine's files by virtiofsd, which only"
            f" root can start, and which QEMU 7 has as {DAEMON}."
        )
    root = scratch / "share"
    root.mkdir()
    shares = {"/dev/root": str(root)}
    shares |= {f"virtme.initmount{i}": path for i, path in enumerate(rw)}
    script, options = "", []
    for number, (tag, path) in enumerate(shares.items()):
        socket = scratch / f"virtiofs{number}"
        daemon = [str(DAEMON), "-f", f"--socket-path={socket}", "-o", f"source={path}"]
        daemon += ["-o", "sandbox=chroot,cache=always,log_level=err"]
        if path == str(root):
            daemon = ["unshare", "-m", "sh", "-c", READ_ONLY, "sh", path, *daemon]
        script += f"{shlex.join(daemon)} &\n"
        script += f"until [ -S {socket} ]; do kill -0 $! || exit; sleep 0.1; done\n"
        options += ["-chardev", f"socket,id=virtiofs{number},path={socket}"]
        device = f"vhost-user-fs-pci,chardev=virtiofs{number},tag={tag}"
        options += ["-device", device]
    options += ["-object", f"memory-backend-memfd,id=shared,size={memory},share=on"]
    options += ["-machine", "memory-backend=shared"]
    return ["sh", "-c", f'{script}exec "$@"', "sh", *qemu, *options]


def arguments(rw: Sequence[str]) -> list[str]:
    """What virtme-ng's init is told of directories that the guest may write to."""
    return [f"virtme_initmount{number}_fstype=virtiofs" for number in range(len(rw))]
