# SPDX-License-Identifier: GPL-2.0-or-later
"""
Open a kernel for drgn: this machine's, a dump's, or a guest's.

Where no debug info is given, symbols come from kallsyms and types from BTF, both of
which the kernel carries in its own memory (:mod:`pagedbg.target.btf`,
:mod:`pagedbg.target.globals`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
from collections.abc import Iterator, Mapping, Sequence

from drgn import (
    MissingDebugInfoError,
    Program,
    ProgramFlags,
)

from pagedbg.errors import PagedbgError
from pagedbg.progress import measured
from pagedbg.target.description import has_debug_info
from pagedbg.target.dump_header import DumpFile
from pagedbg.target.dumpfile import open_file, recognize_open
from pagedbg.target.qemu import QemuGuest
from pagedbg.target.target import Target, TargetError
from pagedbg.target.vmcoreinfo import find_vmcoreinfo

# Has drgn look up virtual addresses, and not libkdumpfile.
_BY_PAGE_TABLES = "DRGN_PREFER_PGTABLE_READER"

# Which of drgn's plugins it is not to load when it opens a kernel. These define
# commands of drgn's own prompt, which takes a quarter of the time that opening a dump
# takes; others may know where there is debug info.
_WITHOUT_PLUGINS = "DRGN_DISABLE_PLUGINS"
_COMMANDS = ("builtin_commands", "crash_commands", "pagedbg")


def open_target(
    core: str | None = None,
    symbols: Sequence[str] = (),
    *,
    qemu: str | None = None,
    pause: bool = False,
) -> Target:
    """
    Open a kernel.

    :param core: path of a dump; None for the running kernel
    :param symbols: files with debug info, preferred over what the kernel carries
    :param qemu: path of the socket of QEMU's monitor, for the kernel of its guest
    :param pause: have that guest wait until the target is closed
    :raises PagedbgError: with a sentence for the user
    """
    # What drgn warns of while it looks for modules' debug info is nothing that was
    # asked for here.
    logging.getLogger("drgn").setLevel(logging.ERROR)
    with measured("opening the kernel", 3) as advance:
        if qemu is not None:
            target = _open_guest(QemuGuest(qemu, pause=pause))
        else:
            target = _open_live() if core is None else _open_dump(core)
        try:
            if symbols:
                _load(target, symbols)
            advance(1)
            target.describe(advance)
        except TargetError as error:
            target.close()
            if target.dump is None or not target.dump.missing:
                raise
            raise TargetError(f"{target.dump.cut_short()} {error}") from None
    return target


def open_program(core: str | None = None, symbols: Sequence[str] = ()) -> Program:
    """
    Open a kernel for a script, with the types and symbols that it carries itself.

    >>> prog = pagedbg.open("vmcore")
    >>> prog["init_uts_ns"].name.release
    (char [65])"6.12.117-pagedbg-lab"

    :param core: path of a dump; None for the running kernel
    :param symbols: files with debug info, preferred over what the kernel carries
    :raises PagedbgError: with a sentence for the user
    """
    return open_target(core, symbols).prog


def _open_live() -> Target:
    prog = Program()
    try:
        with _environment(_few_plugins()):
            prog.set_kernel()
    except PermissionError:
        if os.geteuid():
            raise TargetError(
                "Only root can read the memory of the running kernel: try `sudo"
                " pagedbg`, or open a dump with -c."
            ) from None
        raise TargetError(
            "The kernel refuses /proc/kcore: it is locked down (see"
            " /sys/kernel/security/lockdown) or this is an unprivileged container."
        ) from None
    except FileNotFoundError:
        raise TargetError(
            "This kernel has no /proc/kcore (CONFIG_PROC_KCORE): open a dump with -c."
        ) from None
    except Exception as error:
        # drgn has no class of its own for what it cannot make out of a kernel.
        raise TargetError(
            f"The memory of the running kernel cannot be read: {error}."
        ) from None
    return Target(prog)


def _open_guest(guest: QemuGuest) -> Target:
    prog = Program()
    try:
        with _environment(_few_plugins()):
            prog.set_qemu_qmp(guest.connect())
        if not prog.flags & ProgramFlags.IS_LINUX_KERNEL:
            raise TargetError(
                f"{guest.path}: it is not known that Linux runs there. QEMU learns it"
                " with -device vmcoreinfo, from a kernel with CONFIG_FW_CFG_SYSFS"
                " (module qemu_fw_cfg)."
            )
    except PagedbgError:
        guest.release()
        raise
    except Exception as error:
        # drgn has no class of its own for what it cannot make out of a guest.
        guest.release()
        raise TargetError(f"{guest.path} cannot be read: {error}.") from None
    return Target(prog, guest=guest)


def _open_dump(path: str) -> Target:
    fd = open_file(path)
    try:
        dump = recognize_open(fd, path)
    except BaseException:
        os.close(fd)
        raise
    if dump.torn and not _survives(fd, dump):
        os.close(fd)
        raise TargetError(f"{dump.cut_short()} What is left cannot be read.")
    prog = _program(fd, dump)
    target = Target(prog, dump)
    if dump.missing:
        target.notes.append(dump.cut_short())
    return target


def _program(fd: int, dump: DumpFile) -> Program:
    """Have drgn open a dump; the descriptor is drgn's from here on."""
    text = None
    try:
        if dump.memory is not None:
            text = find_vmcoreinfo(
                dump, fd, lambda text: _opened_by_drgn(os.dup(fd), dump, text)
            )
        found = dump.memory is None or text is not None
        prog = _opened_by_drgn(fd, dump, text) if found else None
    except OSError as error:
        raise TargetError(
            f"{dump.path} cannot be read: {error.strerror or error}."
        ) from None
    except Exception as error:
        raise TargetError(f"{dump.path} is damaged or cut short: {error}.") from None
    if prog is None:
        os.close(fd)
        raise TargetError(
            f"{dump.path} has no vmcoreinfo, and none is in its memory: it is not"
            " known which Linux it is of. QEMU writes it into a dump where it was"
            " started with -device vmcoreinfo and the guest has loaded qemu_fw_cfg"
            " (`modprobe qemu_fw_cfg`) before."
        )
    if not prog.flags & ProgramFlags.IS_LINUX_KERNEL:
        raise TargetError(
            f"{dump.path} is not a dump of a Linux kernel: it has no vmcoreinfo."
        )
    return prog


def _opened_by_drgn(fd: int, dump: DumpFile, vmcoreinfo: bytes | None) -> Program:
    """The same, with the vmcoreinfo that it has, or another one."""
    prog = Program(dump.platform, vmcoreinfo=vmcoreinfo)
    settings = _few_plugins()
    if dump.torn or vmcoreinfo is not None:
        settings[_BY_PAGE_TABLES] = "1"
    with _environment(settings):
        # What was looked at, not whatever has that name by now.
        prog.set_core_dump(fd)
    dump.guard(prog)
    return prog


def _few_plugins() -> dict[str, str]:
    chosen = os.environ.get(_WITHOUT_PLUGINS)
    if chosen == "*":
        return {}
    return {_WITHOUT_PLUGINS: ",".join(filter(None, (chosen, *_COMMANDS)))}


@contextlib.contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Have variables of the environment set for as long as drgn reads them."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _survives(fd: int, dump: DumpFile) -> bool:
    """
    Whether a dump that ends in a page can be opened without reading that page, which
    libkdumpfile does not survive; another process tries.

    What it reads for itself, page tables of the kernel's, it has read when it has read
    anything.
    """
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1] == 0
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _program(os.dup(fd), dump).read(0, 1, True)
    except Exception:
        # It was said: the first process will hear the same.
        pass
    finally:
        os._exit(0)


def _load(target: Target, symbols: Sequence[str]) -> None:
    """Load debug info from files, refusing those of another build."""
    for path in symbols:
        os.close(open_file(path, "debug info is in a file"))
    prog = target.prog
    try:
        prog.load_debug_info(symbols)
    except MissingDebugInfoError:
        pass
    except Exception as error:
        raise TargetError(
            f"{', '.join(symbols)} cannot be taken as debug info: {error}."
        ) from None
    if not has_debug_info(prog):
        wanted = target.vmcoreinfo.get("BUILD-ID", "unknown")
        raise TargetError(
            f"{', '.join(symbols)} has no debug info for {target.name}, whose build id"
            f" is {wanted}: give that kernel's own vmlinux, or leave -s out."
        )


__all__ = ("open_program", "open_target")
