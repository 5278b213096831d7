# SPDX-License-Identifier: GPL-2.0-or-later
"""
A kernel made by hand: a drgn program with the few types, constants and bytes of memory
that page_owner and the stack depot consist of.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from drgn import (
    Architecture,
    FaultError,
    FindObjectFlags,
    Object,
    Platform,
    Program,
    Type,
    TypeKind,
    TypeKindSet,
    TypeMember,
)
from drgn import sizeof as size_of

BASE = 0xFFFF_8880_0000_0000
PAGE_EXT_OWNER, PAGE_EXT_OWNER_ALLOCATED = 0, 1

Member = tuple[str, str] | tuple[str, str, int]


class FakeKernel:
    """
    Types, objects and memory of an x86-64 machine; what nobody has added is not found.
    """

    def __init__(self) -> None:
        self.prog = Program(Platform(Architecture.X86_64))
        self._types: dict[str, Type] = {}
        self._objects: dict[str, Object] = {}
        self._next = BASE
        self._holes: list[tuple[int, int]] = []
        self.prog.register_type_finder("fake", self._find_type, enable_index=0)
        self.prog.register_object_finder("fake", self._find_object, enable_index=0)

    def _find_type(
        self, prog: Program, kinds: TypeKindSet, name: str, filename: str | None
    ) -> Type | None:
        found = self._types.get(name)
        return found if found is not None and found.kind in kinds else None

    def _find_object(
        self, prog: Program, name: str, flags: FindObjectFlags, filename: str | None
    ) -> Object | None:
        return self._objects.get(name)

    # ---- types and objects ----

    def struct(
        self,
        tag: str | None,
        members: Sequence[Member | tuple[Type, str]],
        union: bool = False,
        size: int = 0,
    ) -> Type:
        """
        Add a struct or a union. A member is a C type or a :class:`drgn.Type`, a name,
        and perhaps a number of bits; members without lie one behind the other, as C
        aligns them, and bit fields share what their type holds.
        """
        made, at = [], 0
        for type_, name, *bits in members:
            kind = self.prog.type(type_) if isinstance(type_, str) else type_
            width = 8 * (
                0
                if kind.kind == TypeKind.ARRAY and kind.length is None
                else size_of(kind)
            )
            if not bits:
                align = 8 * _alignment(kind)
                at = -(-at // align) * align
            made.append(
                TypeMember(
                    Object(self.prog, kind, bit_field_size=bits[0]) if bits else kind,
                    name or None,
                    0 if union else at,
                )
            )
            at = max(at, width) if union else at + (bits[0] if bits else width)
        total = size or -(-at // 64) * 8
        type_of = self.prog.union_type if union else self.prog.struct_type
        new = type_of(tag, total, made)
        if tag is not None:
            self._types[tag] = new
        return new

    def typedef(self, name: str, type_: str) -> None:
        """Add a typedef."""
        self._types[name] = self.prog.typedef_type(name, self.prog.type(type_))

    def constant(self, name: str, value: int) -> None:
        """Add an enumerator or a macro."""
        self._objects[name] = Object(self.prog, "int", value)

    def variable(self, name: str, type_: str | Type, data: bytes) -> int:
        """Add a global variable with its bytes and return its address."""
        address = self.allocate(data)
        self._objects[name] = Object(self.prog, type_, address=address)
        return address

    def number(self, name: str, type_: str, value: int) -> None:
        """Add a global variable that is a number."""
        self.variable(
            name, type_, value.to_bytes(size_of(self.prog.type(type_)), "little")
        )

    # ---- memory ----

    def allocate(self, data: bytes) -> int:
        """
        Put bytes somewhere and return their address; between two allocations lies
        nothing.
        """
        address, content = self._next, bytes(data)

        def read(address: int, count: int, offset: int, physical: bool) -> bytes:
            for start, end in self._holes:
                if start < address + count and address < end:
                    raise FaultError("not in the fake dump", max(start, address))
            return content[offset : offset + count]

        if content:
            self.prog.add_memory_segment(address, len(content), read, False)
        self._next = (address + len(content) + 0x1FFF) & ~0xFFF
        return address

    def forget(self, start: int, end: int) -> None:
        """Make addresses unreadable."""
        self._holes.append((start, end))


def _alignment(kind: Type) -> int:
    while kind.kind in (TypeKind.ARRAY, TypeKind.TYPEDEF):
        kind = kind.type
    if kind.kind in (TypeKind.STRUCT, TypeKind.UNION):
        return max(_alignment(member.type) for member in kind.members)
    return size_of(kind)


# ---- page_owner ----------

OWNER_6_1: tuple[Member, ...] = (
    ("unsigned short", "order"),
    ("short", "last_migrate_reason"),
    ("gfp_t", "gfp_mask"),
    ("depot_stack_handle_t", "handle"),
    ("depot_stack_handle_t", "free_handle"),
    ("u64", "ts_nsec"),
    ("u64", "free_ts_nsec"),
    ("char [16]", "comm"),
    ("pid_t", "pid"),
    ("pid_t", "tgid"),
)
OWNER_6_12 = (*OWNER_6_1, ("pid_t", "free_pid"), ("pid_t", "free_tgid"))


class PageOwnerKernel(FakeKernel):
    """A kernel with page_owner and SPARSEMEM, of which the sections are yet to come."""

    def __init__(
        self,
        members: Sequence[Member] = OWNER_6_12,
        section_bits: int = 8,
        before: int = 8,
        behind: int = 0,
    ) -> None:
        super().__init__()
        for name, type_ in (
            ("gfp_t", "unsigned int"),
            ("depot_stack_handle_t", "unsigned int"),
            ("u64", "unsigned long long"),
            ("pid_t", "int"),
        ):
            self.typedef(name, type_)
        self.struct("page_ext", (("unsigned long", "flags"),))
        self.owner = self.struct("page_owner", members)
        self.offset, self.stride = before, before + self.owner.size + behind
        ops = self.struct(
            "page_ext_operations",
            (("unsigned long", "offset"), ("unsigned long", "size")),
        )
        self.variable(
            "page_owner_ops",
            ops,
            before.to_bytes(8, "little") + self.owner.size.to_bytes(8, "little"),
        )
        self.number("page_ext_size", "unsigned long", self.stride)
        self.constant("PAGE_EXT_OWNER", PAGE_EXT_OWNER)
        self.constant("PAGE_EXT_OWNER_ALLOCATED", PAGE_EXT_OWNER_ALLOCATED)
        self.constant("PAGE_SHIFT", 12)
        self.constant("PAGE_SIZE", 4096)
        self.constant("SECTION_SIZE_BITS", 12 + section_bits)
        self.constant("MAX_PHYSMEM_BITS", 52)
        self.section_bits = section_bits

    def record(
        self, owner: bool = False, allocated: bool = False, **members: int | bytes
    ) -> bytes:
        """The page_ext of one page."""
        flags = owner << PAGE_EXT_OWNER | allocated << PAGE_EXT_OWNER_ALLOCATED
        data = bytearray(self.stride)
        data[:8] = flags.to_bytes(8, "little")
        for member in self.owner.members or ():
            value = members.pop(member.name, 0)
            assert member.bit_offset is not None
            at, size = self.offset + member.bit_offset // 8, size_of(member.type)
            data[at : at + size] = (
                value.ljust(size, b"\0")
                if isinstance(value, bytes)
                else (value & (1 << 8 * size) - 1).to_bytes(size, "little")
            )
        assert not members
        return bytes(data)

    def add_sections(
        self,
        sections: dict[int, bytes | None],
        flags: int = 0xF,
        per_root: int = 4,
        invalid: Sequence[int] = (),
    ) -> dict[int, int]:
        """
        Lay out ``mem_section``.

        :param sections: for each section that there is the page_ext of its pages, None
            where it has none
        :param invalid: sections whose page_ext is being taken away
        :return: the address of each section's array
        """
        entry = self.struct(
            "mem_section",
            (
                ("unsigned long", "section_mem_map"),
                ("struct page_ext *", "page_ext"),
                ("unsigned long", "pad"),
            ),
        )
        addresses = {
            nr: self.allocate(data) for nr, data in sections.items() if data is not None
        }
        highest = max(sections)
        roots = b""
        for root in range(highest // per_root + 1):
            numbers = range(root * per_root, (root + 1) * per_root)
            table = b""
            for nr in numbers:
                # The stored address is biased: it is indexed by the pfn itself.
                biased = (
                    addresses[nr] - self.stride * (nr << self.section_bits)
                    if nr in addresses
                    else 0
                )
                pointer = (biased | (nr in invalid)) & (1 << 64) - 1
                table += (
                    (flags if nr in sections else 0).to_bytes(8, "little")
                    + pointer.to_bytes(8, "little")
                    + bytes(8)
                )
            there = any(nr in sections for nr in numbers)
            roots += (self.allocate(table) if there else 0).to_bytes(8, "little")
        self.constant("SECTIONS_PER_ROOT", per_root)
        self.number("__highest_present_section_nr", "unsigned long", highest)
        pointer = self.prog.pointer_type(self.prog.pointer_type(entry))
        self.variable(
            "mem_section", pointer, self.allocate(roots).to_bytes(8, "little")
        )
        return addresses

    def add_node(
        self, start_pfn: int, data: bytes, spanned: int, order: int = 10
    ) -> int:
        """
        Lay out the one node of a FLATMEM kernel.

        :param data: the page_ext of its pages, from the start of the largest block that
            ``start_pfn`` lies in
        :param order: the largest order of the buddy allocator
        :return: the address of the array
        """
        self.struct(
            "zone",
            ((self.prog.array_type(self.prog.type("int"), order + 1), "free_area"),),
        )
        fields = (
            ("unsigned long", "node_start_pfn"),
            ("unsigned long", "node_spanned_pages"),
            ("struct page_ext *", "node_page_ext"),
        )
        node = self.struct("pglist_data", fields)
        address = self.allocate(data)
        self.variable(
            "contig_page_data",
            node,
            b"".join(n.to_bytes(8, "little") for n in (start_pfn, spanned, address)),
        )
        mask = self.struct(
            None, ((self.prog.array_type(self.prog.type("unsigned long"), 1), "bits"),)
        )
        self.variable(
            "node_states", self.prog.array_type(mask, 2), (1).to_bytes(8, "little") * 2
        )
        self.constant("N_ONLINE", 1)
        return address


# ---- the stack depot ----------


class DepotKernel(FakeKernel):
    """A kernel with a stack depot in one of the layouts that there have been."""

    LAYOUTS = ("6.1", "6.3", "6.8.3", "6.12", "7.3")

    def __init__(self, layout: str, offset_bits: int = 10) -> None:
        super().__init__()
        self.layout, self.offset_bits = layout, offset_bits
        self.typedef("depot_stack_handle_t", "unsigned int")
        number, valid = {
            "6.1": ("slabindex", 1),
            "6.3": ("pool_index", 1),
            "6.8.3": ("pool_index", 0),
        }.get(layout, ("pool_index_plus_1", 0))
        self.bias = 0 if layout in ("6.1", "6.3") else 1
        self.index_bits = 32 - offset_bits - valid - 5
        u32 = "depot_stack_handle_t"
        parts = self.struct(
            None,
            (
                (u32, number, self.index_bits),
                (u32, "offset", offset_bits),
                *(((u32, "valid", 1),) if valid else ()),
                (u32, "extra", 5),
            ),
            size=4,
        )
        self.valid = valid << (self.index_bits + offset_bits)
        self.extra_shift = 27
        self.struct("handle_parts", ((u32, "handle"), (parts, "")), union=True, size=4)
        entries = self.prog.array_type(
            self.prog.type("unsigned long"), None if layout == "6.1" else 64
        )
        links: tuple[Member, ...] = (
            (("void *", "next"),)
            if layout in ("6.1", "6.3")
            else (("void *", "next"), ("void *", "prev"))
        )
        record = (
            *links,
            ("unsigned int", "hash"),
            ("unsigned int", "size"),
            (u32, "handle"),
            ("unsigned int", "count"),
            (entries, "entries"),
        )
        self.record = self.struct("stack_record", record)
        self.pools: list[bytearray] = []
        self.addresses: list[int] = []

    @property
    def pool_size(self) -> int:
        """The bytes of one pool."""
        return 1 << (self.offset_bits + 4)

    def handle(self, pool: int, offset: int, extra: int = 0) -> int:
        """The handle of a record at an offset of a pool."""
        return (
            pool + self.bias
            | (offset >> 4) << self.index_bits
            | self.valid
            | extra << self.extra_shift
        )

    def store(
        self,
        pool: int,
        offset: int,
        frames: Sequence[int],
        handle: int | None = None,
        size: int | None = None,
    ) -> int:
        """
        Write a record as the kernel does, cut off behind its last frame, and return its
        handle.
        """
        while len(self.pools) <= pool:
            self.pools.append(bytearray(b"\xcc" * self.pool_size))
        number = self.handle(pool, offset) if handle is None else handle
        data = self.pools[pool]
        for name, value in (
            ("size", len(frames) if size is None else size),
            ("handle", number),
        ):
            at = offset + self.record.member(name).offset
            data[at : at + 4] = value.to_bytes(4, "little")
        at = offset + self.record.member("entries").offset
        data[at : at + 8 * len(frames)] = b"".join(
            frame.to_bytes(8, "little") for frame in frames
        )
        assert len(data) == self.pool_size
        return number

    def finish(self, missing: Sequence[int] = ()) -> Program:
        """Lay out the pools in memory and return the program."""
        self.addresses = [
            0 if i in missing else self.allocate(bytes(pool))
            for i, pool in enumerate(self.pools)
        ]
        array = b"".join(
            address.to_bytes(8, "little")
            for address in [*self.addresses, *itertools.repeat(0, 4)]
        )
        name = "stack_slabs" if self.layout == "6.1" else "stack_pools"
        if self.layout == "7.3":
            self.variable(name, "void **", self.allocate(array).to_bytes(8, "little"))
        else:
            self.variable(
                name, self.prog.array_type(self.prog.type("void *"), None), array
            )
        counter, more = {"6.1": ("depot_index", -1), "6.3": ("pool_index", -1)}.get(
            self.layout, ("pools_num", 0)
        )
        self.number(counter, "int", len(self.pools) + more)
        return self.prog
