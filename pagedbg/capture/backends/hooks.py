# SPDX-License-Identifier: GPL-2.0-or-later
"""
The functions of ``mm/page_owner.c`` that events are taken from, as this kernel has
them, and what a program in the kernel has to know to read a page's record: asked of a
target, handed on as plain numbers.
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any

from drgn import Program, TypeKind, offsetof, sizeof

from pagedbg.capture.backends.btf_ids import cast_constants
from pagedbg.capture.backends.untold import find_untold
from pagedbg.errors import PagedbgError
from pagedbg.mm.gfp import gfpflag_names
from pagedbg.mm.page_ext import page_ext_size
from pagedbg.mm.page_owner import page_owner_inited
from pagedbg.mm.page_owner_bulk import has_tail_times
from pagedbg.schema.event_record import EVENT_KINDS, TRACEPOINTS

if TYPE_CHECKING:
    from pagedbg.target.target import Target

BOOT_ONLY = {
    "init": "init_page_owner",
    "need": "need_page_owner",
}
"""In ``.init.text``: they ran once before anybody could look, and are gone."""


@dataclasses.dataclass(frozen=True)
class HookedKernel:
    """
    What a back end is told of the kernel.

    ``functions`` are the names by event, ``constants`` what ``bpf/capture.bpf.c`` is
    compiled with, ``addresses`` what else it is told since it changes from boot to boot
    (members of ``struct pagedbg_header``); ``page_owner`` says whether it is on.
    ``untold`` are places where pages are allocated that no tracepoint tells of, or
    ``unknown`` says why they are not known.
    """

    page_owner: bool
    functions: dict[str, str]
    constants: dict[str, int | str]
    addresses: dict[str, int]
    untold: list[str] = dataclasses.field(default_factory=list)
    unknown: str = ""


def find_hooks(target: Target) -> dict[str, str]:
    """The name of each event's function, of those that this kernel has."""
    found = {}
    for kind in EVENT_KINDS:
        for name in kind.functions:
            if target.has_symbol(name):
                found[kind.name] = name
                break
    return found


def describe_kernel(target: Target) -> HookedKernel:
    """
    Ask the running kernel for all that a back end needs.

    :raises PagedbgError: if its pages are numbered, or their extended data kept, in a
        way that is not known here
    """
    prog = target.prog
    constants: dict[str, int | str] = {
        "SIZEOF_PAGE": sizeof(prog.type("struct page")),
        "PAGE_OWNER": int(page_owner_inited(prog)),
        **_freeze_constants(prog),
    }
    try:
        addresses = {"memmap": prog["vmemmap"].value_(), "mem_section": 0}
    except LookupError:
        raise PagedbgError(
            "The pages of this kernel have no common array (CONFIG_SPARSEMEM_VMEMMAP):"
            " they cannot be traced."
        ) from None
    if not page_owner_inited(prog):
        return HookedKernel(False, dict(TRACEPOINTS), constants, addresses)
    functions = find_hooks(target)
    mem_section = prog["mem_section"]
    if mem_section.type_.unaliased_kind() == TypeKind.POINTER:
        constants["SECTIONS_PER_ROOT"] = prog["SECTIONS_PER_ROOT"].value_()
        addresses["mem_section"] = mem_section.value_()
    else:
        assert mem_section.address_ is not None
        addresses["mem_section"] = mem_section.address_
    addresses["dummy_handle"] = prog["dummy_handle"].value_()
    constants.update(_record_constants(prog))
    constants.update(cast_constants())
    constants.update(_split_constants(prog, functions))
    old, new = (0, 1) if functions.get("copy") == "__copy_page_owner" else (1, 0)
    constants.update(COPY_OLD=old, COPY_NEW=new)
    try:
        untold, unknown = find_untold(prog), ""
    except PagedbgError as error:
        untold, unknown = [], str(error)
    return HookedKernel(True, functions, constants, addresses, untold, unknown)


def _record_constants(prog: Program) -> dict[str, int | str]:
    owner = prog.type("struct page_owner")
    section = prog.type("struct mem_section")
    if not section.has_member("page_ext"):
        raise PagedbgError(
            "The extended data of this kernel's pages is not kept by section"
            " (CONFIG_SPARSEMEM): they cannot be traced."
        )
    constants: dict[str, int | str] = {
        "SECTION_SHIFT": (prog["SECTION_SIZE_BITS"] - prog["PAGE_SHIFT"]).value_(),
        "SIZEOF_SECTION": sizeof(section),
        "SECTION_PAGE_EXT": offsetof(section, "page_ext"),
        "SIZEOF_PAGE_EXT": page_ext_size(prog),
        "OWNER_OFFSET": prog["page_owner_ops"].offset.value_(),
        "SIZEOF_OWNER": sizeof(owner),
        "EXT_flags": offsetof(prog.type("struct page_ext"), "flags"),
        "EXT_OWNER_ALLOCATED": prog["PAGE_EXT_OWNER_ALLOCATED"].value_(),
    }
    wanted = (
        "order",
        "last_migrate_reason",
        "gfp_mask",
        "handle",
        "ts_nsec",
        "comm",
        "pid",
        "tgid",
    )
    for member in wanted:
        try:
            constants[f"OWNER_{member}"] = offsetof(owner, member)
        except LookupError:
            raise PagedbgError(
                f"page_owner of this kernel keeps no {member} (Linux 6.0 and later do):"
                " it cannot be traced."
            ) from None
    constants["TAIL_TIMES"] = int(has_tail_times(prog))
    return constants


def _freeze_constants(prog: Program) -> dict[str, int | str]:
    """
    What is asked of an allocation that fails, and of an OOM kill (``bpf/freeze.h``).
    """
    constants: dict[str, int | str] = {
        "GFP_NOWARN": next(
            (mask for mask, name in gfpflag_names(prog) if name == "__GFP_NOWARN"), 0
        )
    }
    with contextlib.suppress(LookupError):
        control = prog.type("struct oom_control")
        for member in ("gfp_mask", "order"):
            constants[f"OOM_{member}"] = offsetof(control, member)
    return constants


def _split_constants(prog: Program, functions: dict[str, str]) -> dict[str, int | str]:
    """
    Since "mm: page_owner: add support for splitting to any order in split page_owner"
    (in v6.9) it is told two orders, before how many pages.
    """
    if "split" not in functions:
        return {}
    parameters: Any = prog.function(functions["split"]).type_.parameters
    if len(parameters) >= 3:
        return {"SPLIT_ORDER(a)": "(a)", "SPLIT_NEW_ORDER(a)": "(a)"}
    return {"SPLIT_ORDER(a)": "order_of(a)", "SPLIT_NEW_ORDER(a)": "0"}
