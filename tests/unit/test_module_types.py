# SPDX-License-Identifier: GPL-2.0-or-later
"""A module's types, which refer to the kernel's, out of BTF that is made by hand."""

from __future__ import annotations

import contextlib
import struct

from btf_maker import ENUM, INT, PTR, STRUCT, Maker, changed
from drgn import Architecture, Platform, Program, Type, TypeKind, TypeKindSet
from hypothesis import given, settings

from pagedbg.target.btf import Btf
from pagedbg.target.btf_records import BtfError
from pagedbg.target.module_types import ModuleBtf

STRUCTS = TypeKindSet([TypeKind.STRUCT])


def kernel() -> Maker:
    """``struct page { int flags; }``, whose member's name a module's may have, too."""
    made = Maker()
    made.add(INT, "int", 4, 1 << 24 | 32)  # 1
    return made.add(STRUCT, "page", 4, made.string("flags"), 1, 0, vlen=1)  # 2


def module() -> Maker:
    """Its first string is a type's name; one name the kernel has, for a member."""
    made = Maker(kernel())
    ring = made.string("ring"), made.string("flags"), made.string("head")
    made.add(STRUCT, "ring", 16, ring[1], 1, 0, ring[2], 4, 64, vlen=2)  # 3
    made.add(PTR, "", 2)  # 4: struct page *
    made.add(STRUCT, "flags", 8, made.string("of"), 4, 0, vlen=1)  # 5
    return made.add(ENUM, "ring_state", 4, made.string("RING_FULL"), 3, vlen=1)  # 6


class Loaded:
    """The types of a module and of the kernel that it is in."""

    def __init__(self, data: bytes) -> None:
        self.prog = Program(Platform(Architecture.X86_64))
        self.kernel = Btf(self.prog, kernel().blob())
        self.module = ModuleBtf(self.prog, data, self.kernel)

    def struct(self, name: str) -> Type | None:
        return self.module.find_type(self.prog, STRUCTS, name, None)


def test_a_type_of_a_module_has_members_of_the_kernels_types() -> None:
    loaded = Loaded(module().blob())
    ring = loaded.struct("ring")
    assert ring is not None
    assert [member.name for member in ring.members] == ["flags", "head"]
    flags, head = (member.type for member in ring.members)
    assert flags.type_name() == "int"
    assert head.type_name() == "struct page *"
    assert [member.name for member in head.type.members] == ["flags"]


def test_a_name_that_the_kernel_has_as_a_string_is_found_as_a_type() -> None:
    loaded = Loaded(module().blob())
    assert loaded.kernel.find_type(loaded.prog, STRUCTS, "flags", None) is None
    flags = loaded.struct("flags")
    assert flags is not None
    assert [member.name for member in flags.members] == ["of"]


def test_a_name_may_be_among_the_kernels_strings_and_the_modules_own() -> None:
    made = Maker(kernel())
    # As of a module that was not built with the kernel.
    own = len(kernel().strings)
    made.strings = b"flags\0"
    made.records = struct.pack("<6I", own, STRUCT << 24 | 1, 4, own, 1, 0)
    flags = Loaded(made.blob()).struct("flags")
    assert flags is not None
    assert [member.name for member in flags.members] == ["flags"]


def test_its_constants_have_its_types() -> None:
    full = Loaded(module().blob()).module.enumerator("RING_FULL")
    assert full is not None
    assert (full.value_(), full.type_.tag) == (3, "ring_state")


def test_what_the_kernel_has_is_not_found_again() -> None:
    assert Loaded(module().blob()).struct("page") is None
    assert Loaded(module().blob()).struct("nothing") is None


GOOD = module().blob()


@settings(max_examples=200, deadline=None)
@given(changed(GOOD))
def test_changed_bytes_never_raise_anything_but_btf_error(data: bytes) -> None:
    with contextlib.suppress(BtfError):
        loaded = Loaded(data)
        for name in ("ring", "flags", "ring_state"):
            with contextlib.suppress(BtfError):
                found = loaded.struct(name)
                for member in found.members if found else ():
                    _ = member.type, member.bit_field_size
        loaded.module.enumerator("RING_FULL")
