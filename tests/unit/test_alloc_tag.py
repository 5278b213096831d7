# SPDX-License-Identifier: GPL-2.0-or-later
"""
Allocation tags on kernels made by hand: what is damaged or gone is said, and the rest
answers. Against real kernels they are tested in tests/vm.
"""

from __future__ import annotations

import struct

import numpy as np
import pytest
from drgn import FaultError, Program, Symbol, SymbolBinding, SymbolKind
from fake_kernel import FakeKernel

from pagedbg.mm.alloc_tag import (
    AllocTags,
    alloc_tags_compiled,
    mem_alloc_profiling_enabled,
)
from pagedbg.target.links import Damaged

SITES = (("mm/slub.c", 2425, "alloc_slab_page"), ("kernel/fork.c", 311, "dup_stack"))
CPUS = (0x1000_0000, 0x3000_0000)


class TagKernel(FakeKernel):
    """A kernel with two tags and two CPUs; there is no list of modules."""

    def __init__(self, *, missing: int = 0, enabled: int = 1) -> None:
        """:param missing: bytes that the section lacks at its end"""
        super().__init__()
        self.typedef("u64", "unsigned long long")
        self.struct(
            "codetag",
            (
                *(("unsigned int", "flags"), ("unsigned int", "lineno")),
                *(("char *", "modname"), ("char *", "function")),
                ("char *", "filename"),
            ),
        )
        self.struct("alloc_tag_counters", (("u64", "bytes"), ("u64", "calls")))
        self.struct(
            "alloc_tag",
            (("struct codetag", "ct"), ("struct alloc_tag_counters *", "counters")),
        )
        self.counters = self.allocate(bytes(64))
        self.tags = self.allocate(
            b"".join(
                self.tag(*site, counters=self.counters + 16 * i - CPUS[0])
                for i, site in enumerate(SITES)
            )
        )
        stop = self.tags + 40 * len(SITES) - missing
        self._symbols = {
            "__start_alloc_tags": self.tags,
            "__stop_alloc_tags": stop,
            "mem_alloc_profiling_key": 1,
        }
        self.prog.register_symbol_finder("fake", self._find_symbol, enable_index=0)
        count = self.struct(None, (("int", "counter"),))
        key = self.struct(None, ((count, "enabled"),))
        outer = self.struct(None, ((key, "key"),))
        self.variable("mem_alloc_profiling_key", outer, struct.pack("<i", enabled))

    def _find_symbol(
        self, prog: Program, name: str | None, address: int | None, one: bool
    ) -> list[Symbol]:
        if name not in self._symbols:
            return []
        at = self._symbols[name]
        return [Symbol(name, at, 0, SymbolBinding.GLOBAL, SymbolKind.OBJECT)]

    def text(self, words: str) -> int:
        return self.allocate(words.encode() + bytes(600))

    def tag(
        self,
        filename: str,
        lineno: int,
        function: str,
        modname: str = "",
        counters: int = 0,
    ) -> bytes:
        """The bytes of a tag."""
        return struct.pack(
            "<IIQQQQ",
            *(0, lineno, self.text(modname) if modname else 0),
            *(self.text(function), self.text(filename)),
            counters % (1 << 64),
        )


def test_a_site_is_file_line_function_and_module() -> None:
    kernel = TagKernel()
    tags = AllocTags(kernel.prog)
    assert [tags.site(at) for at in tags.addresses.tolist()] == [
        "mm/slub.c:2425 alloc_slab_page",
        "kernel/fork.c:311 dup_stack",
    ]
    assert tags.unread == ["modules' tags"]
    assert mem_alloc_profiling_enabled(kernel.prog)
    assert not mem_alloc_profiling_enabled(TagKernel(enabled=0).prog)
    assert not alloc_tags_compiled(FakeKernel().prog)


def test_a_tag_of_a_module_that_left_pages_behind_is_still_read() -> None:
    kernel = TagKernel()
    left = kernel.allocate(kernel.tag("drivers/x.c", 7, "x_alloc", "x"))
    tags = AllocTags(kernel.prog)
    assert tags.site(left) == "drivers/x.c:7 x_alloc [x]"
    (number,) = tags.numbers(np.array([left], np.uint64)).tolist()
    assert tags.at(number) == left
    assert tags.at(12345) == 0


@pytest.mark.parametrize(
    "place",
    [
        lambda kernel: 0xDEAD_0000,
        lambda kernel: (1 << 64) - 8,
        # No text; a line that no source has; and text that is none.
        lambda kernel: kernel.allocate(bytes(40)),
        lambda kernel: kernel.allocate(kernel.tag("a.c", 1 << 31, "f")),
        lambda kernel: kernel.allocate(kernel.tag("\x1b[31m", 1, "f")),
        lambda kernel: kernel.allocate(kernel.tag("a" * 700, 1, "f")),
    ],
)
def test_what_is_no_tag_is_said_to_be_gone(place: object) -> None:
    kernel = TagKernel()
    at = place(kernel)  # type: ignore[operator]
    tags = AllocTags(kernel.prog)
    assert tags.place(at) is None
    assert tags.site(at) == f"(the tag at {at:#x} of a module that is gone)"


@pytest.mark.parametrize("missing", [8, 200, -(1 << 40)])
def test_a_section_that_holds_no_whole_tags_or_too_many_is_damaged(
    missing: int,
) -> None:
    with pytest.raises(Damaged, match="a section of allocation tags"):
        AllocTags(TagKernel(missing=missing).prog)


def test_counters_are_summed_over_cpus_and_what_cannot_be_read_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel = TagKernel()
    per_cpu = {
        CPUS[0]: struct.pack("<4q", 8192, 2, -40, 1),
        CPUS[1]: struct.pack("<4q", 4096, 1, 100, 3),
    }
    base = kernel.counters - CPUS[0]

    def read(address: int, count: int, offset: int, physical: bool) -> bytes:
        for cpu, data in per_cpu.items():
            at = address - (base + cpu)
            if at >= 0 and at + count <= len(data):
                return data[at : at + count]
        raise FaultError("not there", address)

    for cpu in CPUS:
        kernel.prog.add_memory_segment(base + cpu, 32, read, False)
    monkeypatch.setattr("pagedbg.mm.alloc_tag._per_cpu_offsets", lambda prog: CPUS)
    counters = AllocTags(kernel.prog).counters()
    assert counters.bytes.tolist() == [12288, 60]
    assert counters.calls.tolist() == [3, 4]
    assert counters.known.all()
    del per_cpu[CPUS[1]]
    counters = AllocTags(kernel.prog).counters()
    assert counters.bytes.tolist() == [8192, -40]
    assert not counters.known.any()
