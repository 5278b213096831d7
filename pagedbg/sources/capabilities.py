# SPDX-License-Identifier: GPL-2.0-or-later
"""
What a target offers, each question asked once and in one place: commands declare what
they need, ``doctor`` prints the lot.

A probe is a function of the target; it returns whether the thing is there and, in a few
words, what was found. What to do about it when it is not there stands beside it.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

from pagedbg import trust
from pagedbg.mm.page_owner import page_owner_compiled, page_owner_inited
from pagedbg.sources.witness_probes import WITNESS_PROBES
from pagedbg.target.dump_header import USER_DATA
from pagedbg.target.links import UNREADABLE
from pagedbg.target.switches import FTRACE, KPROBES, Switch, is_off

if TYPE_CHECKING:
    from pagedbg.target.target import Target


@dataclasses.dataclass(frozen=True)
class Capability:
    """
    The answer to one question.

    ``state``: whether the target has it. ``detail``: what was found. ``cost``: what
    does not work without it. ``remedy``: how to get it; both empty where ``state`` is
    true.
    """

    name: str
    state: bool
    detail: str
    cost: str = ""
    remedy: str = ""


class _Probe(NamedTuple):
    ask: Callable[[Target], tuple[bool, str]]
    cost: str
    remedy: str | Callable[[Target], str]
    only_live: bool = False


_PROBES: dict[str, _Probe] = {}


def _probe(
    name: str,
    *,
    cost: str,
    remedy: str | Callable[[Target], str],
    only_live: bool = False,
) -> Callable[[Callable[[Target], tuple[bool, str]]], None]:
    def register(ask: Callable[[Target], tuple[bool, str]]) -> None:
        _PROBES[name] = _Probe(ask, cost, remedy, only_live)

    return register


class Capabilities(Mapping[str, Capability]):
    """
    The capabilities of a target by name, each probed when it is first asked for. A dump
    has none of those of a running kernel.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._known: dict[str, Capability] = {}

    def __getitem__(self, name: str) -> Capability:
        if name not in self._known:
            probe = _PROBES[name]
            if probe.only_live and not self._target.live:
                raise KeyError(name)
            try:
                state, detail = probe.ask(self._target)
                remedy = (
                    probe.remedy
                    if isinstance(probe.remedy, str)
                    else probe.remedy(self._target)
                )
            except (*UNREADABLE, OSError) as error:
                state, detail, remedy = False, f"could not be asked ({error})", ""
            self._known[name] = (
                Capability(name, state, detail)
                if state
                else Capability(name, state, detail, probe.cost, remedy)
            )
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return (
            name
            for name, probe in _PROBES.items()
            if self._target.live or not probe.only_live
        )

    def __len__(self) -> int:
        return sum(1 for _ in self)


KNOWN: MutableMapping[Target, Mapping[str, Capability]] = WeakKeyDictionary()
"""What is known of each target that was asked for."""


def capabilities_of(target: Target) -> Mapping[str, Capability]:
    """What a target offers, by name; each is asked once, when it is looked up."""
    return KNOWN.setdefault(target, Capabilities(target))


# ---- what pages are looked up with ----


@_probe("types", cost="nothing works", remedy="Give the kernel's vmlinux with -s")
def _types(target: Target) -> tuple[bool, str]:
    return True, f"from {target.types}"


@_probe(
    "kallsyms",
    cost="stacks may name another alias of a function than the kernel does",
    remedy="Linux 6.0 and later put into vmcoreinfo where kallsyms is",
)
def _kallsyms(target: Target) -> tuple[bool, str]:
    return (
        target.has_kallsyms,
        (
            "the kernel's own"
            if target.has_kallsyms
            else "not found; symbols come from debug info"
        ),
    )


@_probe(
    "kallsyms_all",
    cost="variables are not found without debug info",
    remedy="Build with CONFIG_KALLSYMS_ALL=y, or give the vmlinux with -s",
)
def _kallsyms_all(target: Target) -> tuple[bool, str]:
    return (
        (True, "data symbols are there")
        if target.has_symbol("init_task")
        else (False, "only functions are there")
    )


@_probe(
    "unrestricted symbols",
    cost="symbols are read from kernel memory instead, which takes longer",
    remedy="sysctl kernel.kptr_restrict=1",
    only_live=True,
)
def _kptr(target: Target) -> tuple[bool, str]:
    value = Path("/proc/sys/kernel/kptr_restrict").read_text().strip()
    return value != "2", f"kernel.kptr_restrict={value}"


def _page_owner_remedy(target: Target) -> str:
    """What helps depends on why it is off, and on whether the kernel still runs."""
    record = (
        "trace start records allocations from now on, of which owners and correlate"
        " tell"
    )
    if page_owner_compiled(target.prog):
        boot = (
            "Boot with page_owner=on on the kernel's command line: some 64 bytes a"
            " page, and each allocation and each free walks its stack"
        )
        return f"{boot}; {record}" if target.live else boot
    kernel = (
        "who holds all the rest says a kernel with CONFIG_PAGE_OWNER=y (Fedora,"
        " openSUSE and AlmaLinux build theirs so)"
    )
    answer = "memory, blocks, explain and map answer without it"
    return "; ".join([answer, *([record] if target.live else []), kernel])


@_probe(
    "page_owner",
    cost="owners has nothing to list, inspect shows no owner",
    remedy=_page_owner_remedy,
)
def _page_owner(target: Target) -> tuple[bool, str]:
    if not page_owner_compiled(target.prog):
        return False, "this kernel was built without CONFIG_PAGE_OWNER"
    return (
        (True, "on since boot")
        if page_owner_inited(target.prog)
        else (False, "page_owner is off")
    )


for _name, _witness in WITNESS_PROBES.items():
    _probe(_name, cost=_witness.cost, remedy=_witness.remedy)(_witness.ask)


def _complete_remedy(target: Target) -> str:
    from pagedbg.mm.lost_slabs import LOST_SLABS

    said = "Dump with a lower level: makedumpfile -d 0"
    return f"{said}; {LOST_SLABS}" if _slabs_are_lost(target) else said


def _slabs_are_lost(target: Target) -> bool:
    """Whether makedumpfile has taken slabs for user data, which it did leave out."""
    from pagedbg.mm.lost_slabs import slabs_are_lost

    dump = target.dump
    return (
        dump is not None
        and bool((dump.level or 0) & USER_DATA)
        and "NUMBER(PG_slab)" not in target.vmcoreinfo
        and slabs_are_lost(target.prog)
    )


@_probe(
    "complete dump",
    cost="the contents of those pages cannot be read; who holds them can",
    remedy=_complete_remedy,
)
def _complete(target: Target) -> tuple[bool, str]:
    dump = target.dump
    if dump is None:
        return True, "a running kernel" if target.live else "a guest's memory"
    if dump.missing:
        return False, f"the file is cut short by {dump.missing} bytes"
    if dump.left_out():
        return (
            False,
            f"left out: {', '.join(dump.left_out())} (makedumpfile -d {dump.level})",
        )
    if dump.holes:
        return False, f"{len(dump.holes)} ranges of memory are left out"
    return True, f"{dump.format}, nothing left out"


# ---- what tracing will need ----


@_probe(
    "root", cost="kernel memory cannot be read", remedy="sudo pagedbg", only_live=True
)
def _root(target: Target) -> tuple[bool, str]:
    return os.geteuid() == 0, f"uid {os.geteuid()}"


@_probe(
    "not locked down",
    cost="kernel memory, BPF and modules are closed",
    remedy="Boot without lockdown=, or with Secure Boot off",
    only_live=True,
)
def _lockdown(target: Target) -> tuple[bool, str]:
    path = Path("/sys/kernel/security/lockdown")
    mode = re.search(r"\[(\w+)\]", path.read_text()) if path.exists() else None
    return mode is None or mode[1] == "none", (
        f"lockdown={mode[1]}" if mode else "no lockdown in this kernel"
    )


@_probe(
    "kprobes",
    cost="no tracing with a kernel module",
    remedy="Build the kernel with CONFIG_KPROBES=y",
    only_live=True,
)
def _kprobes(target: Target) -> tuple[bool, str]:
    return (
        (True, "CONFIG_KPROBES=y")
        if target.has_symbol("register_kprobe")
        else (False, "this kernel has no kprobes")
    )


@_probe(
    "tracepoints",
    cost="nothing is recorded where page_owner is off",
    remedy="Build the kernel with CONFIG_TRACEPOINTS=y",
    only_live=True,
)
def _tracepoints(target: Target) -> tuple[bool, str]:
    return (
        (True, "kmem:mm_page_alloc and kmem:mm_page_free")
        if target.has_symbol("__traceiter_mm_page_alloc")
        else (False, "this kernel has none of allocations")
    )


@_probe(
    "ftrace on",
    cost="only tracepoints see anything: trace start --attach tracepoint",
    remedy=FTRACE.way_out,
    only_live=True,
)
def _ftrace_on(target: Target) -> tuple[bool, str]:
    return _switched_on(FTRACE)


@_probe(
    "kprobes on",
    cost="the kernel module and kprobes of BPF see nothing",
    remedy=KPROBES.way_out,
    only_live=True,
)
def _kprobes_on(target: Target) -> tuple[bool, str]:
    return _switched_on(KPROBES)


def _switched_on(switch: Switch) -> tuple[bool, str]:
    return (False, switch.off) if is_off(switch) else (True, "not switched off")


@_probe(
    "BPF",
    cost="no tracing with BPF",
    remedy="Build the kernel with CONFIG_BPF_SYSCALL=y and CONFIG_BPF_EVENTS=y",
    only_live=True,
)
def _bpf(target: Target) -> tuple[bool, str]:
    return (
        (True, "CONFIG_BPF_EVENTS=y")
        if target.has_symbol("bpf_trace_run1")
        else (False, "this kernel has no BPF tracing")
    )


@_probe(
    "bcc",
    cost="no tracing with BPF",
    remedy="apt install python3-bpfcc (the bcc on PyPI is something else)",
    only_live=True,
)
def _bcc(target: Target) -> tuple[bool, str]:
    # bcc is looked for and not imported: that loads all of LLVM.
    found = importlib.util.find_spec("bcc")
    real = found is not None and any(
        (Path(place) / "libbcc.py").exists()
        for place in found.submodule_search_locations or ()
    )
    return (
        real,
        (
            "installed"
            if real
            else (
                "not installed"
                if found is None
                else "another package of that name is installed"
            )
        ),
    )


@_probe(
    "kernel headers",
    cost="the kernel module cannot be built",
    remedy=(
        "apt install linux-headers-$(uname -r), or your distribution's package of that"
        " name"
    ),
    only_live=True,
)
def _headers(target: Target) -> tuple[bool, str]:
    build = Path("/lib/modules", os.uname().release, "build")
    return (build / "Makefile").exists(), (
        str(build) if build.exists() else f"{build} is not there"
    )


@_probe(
    "compiler",
    cost="the kernel module cannot be built",
    remedy="apt install build-essential",
    only_live=True,
)
def _compiler(target: Target) -> tuple[bool, str]:
    missing = [tool for tool in ("gcc", "make") if trust.program(tool) is None]
    return (
        not missing,
        f"{' and '.join(missing)} not found" if missing else "gcc and make",
    )
