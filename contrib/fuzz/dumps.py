# SPDX-License-Identifier: GPL-2.0-or-later
"""
Dumps to be damaged: as a file (headers, bitmap, page descriptors), and in the memory
that is in it, by what lies where.
"""

from __future__ import annotations

import functools
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from drgn import FaultError, Program, container_of
from drgn.helpers.linux.block import for_each_disk
from drgn.helpers.linux.bpf import bpf_btf_for_each
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.mm import follow_phys
from drgn.helpers.linux.module import for_each_module
from drgn.helpers.linux.pid import find_task, for_each_task
from make_elf import PAGE, ElfCore
from mutate import EDGES, Choice, Place, few, number, one, text, words

from pagedbg.capture.recovery.recover import find_recorders
from pagedbg.mm.bulk_read import c_string
from pagedbg.mm.page_ext import pfn_to_page_ext
from pagedbg.mm.page_state import pfn_state
from pagedbg.target.declarations import GLOBALS
from pagedbg.target.opening import open_target
from pagedbg.target.target import Target

EHDR = [
    (16, 2),
    (18, 2),
    (20, 4),
    (24, 8),
    (32, 8),
    (40, 8),
    (48, 4),
    (52, 2),
    (54, 2),
    (56, 2),
    (58, 2),
    (60, 2),
    (62, 2),
]
PHDR = [(0, 4), (4, 4), (8, 8), (16, 8), (24, 8), (32, 8), (40, 8), (48, 8)]
# struct disk_dump_header, and struct kdump_sub_header in the block behind it.
DISK_DUMP = [
    (0, 8),
    (8, 4),
    (12, 1),
    (272, 8),
    (408, 8),
    (416, 8),
    (424, 4),
    (428, 4),
    (432, 4),
    (436, 4),
    (440, 4),
    (444, 4),
    (448, 4),
    (452, 4),
]
SUB_HEADER = [(0, 8), (8, 4), (12, 4), *((at, 8) for at in range(16, 104, 8))]

Undo = list[tuple[int, bytes]]


class File:
    """A copy of a dump that is damaged in place, and mended."""

    def __init__(self, whole: Path, path: Path) -> None:
        self.path, self._whole = path, whole
        shutil.copyfile(whole, path)
        self.size = path.stat().st_size
        self._undo: Undo = []

    def read(self, at: int, size: int) -> bytes:
        """Bytes of the file."""
        with self.path.open("rb") as file:
            return os.pread(file.fileno(), size, at)

    def write(self, at: int, data: bytes) -> None:
        """Overwrite bytes of the file, until :meth:`mend`."""
        if not data or at < 0:
            return
        with self.path.open("r+b") as file:
            before = os.pread(file.fileno(), len(data), at)
            self._undo.append((at, before))
            os.pwrite(file.fileno(), data, at)

    def resize(self, size: int) -> None:
        """Cut the file short, or make it longer by what takes no room on the disk."""
        os.truncate(self.path, size)

    def mend(self) -> None:
        """Make it what it was."""
        if self.path.stat().st_size < self.size:
            shutil.copyfile(self._whole, self.path)
        else:
            with self.path.open("r+b") as file:
                for at, before in reversed(self._undo):
                    os.pwrite(file.fileno(), before, at)
            os.truncate(self.path, self.size)
        self._undo = []


class Dumps:
    """Both kinds of dump of one kernel, and what lies where in its memory."""

    def __init__(self, core: Path, directory: Path) -> None:
        """:param directory: for the ELF core that is made of the dump"""
        self.core = core
        self.target = open_target(str(core))
        self.elf_path = directory / "whole.elf"
        self._elf = ElfCore(self.target.prog, self.elf_path)
        self.places = {
            name: sorted(find(self.target), key=lambda place: place.at)
            for name, find in PLACES.items()
        }
        self.places["memory"] = [
            Place(address, PAGE) for address in self._known_pages()
        ]
        self._physical = functools.cache(self._translate)

    def copies(self, directory: Path) -> None:
        """Have copies to damage."""
        self.elf = File(self.elf_path, directory / "elf")
        self.kdump = File(self.core, directory / "kdump")
        # Where the headers are; what they say there is damaged in the course of a case.
        (self._phoff,) = struct.unpack("<Q", self.elf.read(32, 8))
        (self._note,) = struct.unpack("<Q", self.elf.read(self._phoff + 8, 8))
        self._segments = self._read_segments()
        self._bitmap, self._descriptors = self._read_bitmap()

    def _known_pages(self) -> Iterator[int]:
        places = [place for many in self.places.values() for place in many]
        yield from sorted(
            {
                page
                for place in places
                for page in range(place.at // PAGE * PAGE, place.at + place.size, PAGE)
            }
        )

    # ---- memory ----

    def _translate(self, page: int) -> int | None:
        try:
            return int(
                follow_phys(self.target.prog["init_mm"].address_of_(), page).value_()
            )
        except FaultError:
            return None

    def read(self, address: int, size: int) -> bytes:
        """What is in memory, as much as the dump has of it."""
        size = min(size, PAGE - address % PAGE)
        try:
            return bytes(self.target.prog.read(address, size))
        except FaultError:
            return b""

    def write(self, file: File, address: int, data: bytes) -> None:
        """Overwrite memory in one of the copies."""
        done = 0
        while done < len(data):
            at = address + done & (1 << 64) - 1
            step = min(len(data) - done, PAGE - at % PAGE)
            physical = self._physical(at // PAGE * PAGE)
            if physical is not None:
                (self._write_elf if file is self.elf else self._write_kdump)(
                    physical + at % PAGE, data[done : done + step]
                )
            done += step

    def _read_segments(self) -> list[tuple[int, int, int]]:
        (count,) = struct.unpack("<H", self.elf.read(56, 2))
        headers = [
            struct.unpack("<IIQQQQQQ", self.elf.read(self._phoff + 56 * i, 56))
            for i in range(count)
        ]
        return [
            (paddr, filesz, offset)
            for kind, _, offset, _, paddr, filesz, _, _ in headers
            if kind == 1
        ]

    def _write_elf(self, physical: int, data: bytes) -> None:
        for start, size, offset in self._segments:
            if start <= physical < start + size:
                self.elf.write(offset + physical - start, data)

    def _read_bitmap(self) -> tuple[np.ndarray[Any, Any], int]:
        block, sub, blocks = struct.unpack("<iii", self.kdump.read(428, 12))
        at, half = (1 + sub) * block, blocks * block // 2
        bits = np.unpackbits(
            np.frombuffer(self.kdump.read(at + half, half), np.uint8), bitorder="little"
        )
        return np.cumsum(bits) * bits, at + blocks * block

    def _write_kdump(self, physical: int, data: bytes) -> None:
        """
        Store the page anew, uncompressed, behind all others: so the damage is in the
        memory and not in how it is packed.
        """
        pfn = physical // PAGE
        rank = int(self._bitmap[pfn]) if pfn < len(self._bitmap) else 0
        if not rank:
            return
        descriptor = self._descriptors + 24 * (rank - 1)
        offset, _, flags, _ = struct.unpack("<QIIQ", self.kdump.read(descriptor, 24))
        if flags or offset < self.kdump.size:
            page = self.target.prog.read(pfn * PAGE, PAGE, True)
            offset = -(-self.kdump.path.stat().st_size // PAGE) * PAGE
            self.kdump.write(offset, page)
            self.kdump.write(descriptor, struct.pack("<QIIQ", offset, PAGE, 0, 0))
        self.kdump.write(offset + physical % PAGE, data)

    # ---- cases ----

    def damage(self, kind: str, choice: Choice) -> File:
        """Damage one of the copies and return it."""
        if kind in ("elf", "kdump"):
            file = self.elf if kind == "elf" else self.kdump
            for _ in range(few(choice, 8)):
                (self._elf_header if kind == "elf" else self._kdump_header)(choice)
            if choice.random() < 0.15:
                # What headers claim the file then has, without taking any room.
                file.resize(1 << (24, 30, 33, 36, 40, 43)[one(choice, 6)])
            elif choice.random() < 0.1:
                file.resize(one(choice, file.size))
            return file
        file = self.kdump if choice.random() < 0.25 else self.elf
        if kind == "vmcoreinfo":
            self._vmcoreinfo(choice, file)
            return file
        if kind == "bare":
            self._bare(choice, file)
            return file
        places = self.places[kind]
        for _ in range(few(choice)):
            place = places[one(choice, len(places))]
            if place.size > PAGE and choice.random() < 0.8:
                place = Place(place.at + one(choice, place.size) // 8 * 8, 256)
            for at, data in words(
                choice, place, self.read(place.at, place.size) or bytes(8), places
            ):
                self.write(file, at, data)
        return file

    def _field(self, file: File, at: int, size: int, choice: Choice) -> None:
        old = int.from_bytes(file.read(at, size), "little")
        new = number(choice, old, size)
        if choice.random() < 0.3:
            new = (file.size + (-4096, -1, 0, 1, 4096)[one(choice, 5)]) & (
                1 << 8 * size
            ) - 1
        file.write(at, new.to_bytes(size, "little"))

    def _elf_header(self, choice: Choice) -> None:
        file = self.elf
        kind = one(choice, 6)
        if kind == 0:
            at, size = EHDR[one(choice, len(EHDR))]
            self._field(file, at, size, choice)
        elif kind < 4:
            # The first is the note's.
            which = 0 if choice.random() < 0.3 else one(choice, len(self._segments) + 1)
            at, size = PHDR[one(choice, len(PHDR))]
            self._field(file, self._phoff + 56 * which + at, size, choice)
        elif kind == 4:
            self._field(file, self._note + 4 * one(choice, 6), 4, choice)
        else:
            # PN_XNUM: as many segments as section 0 says, and as many sections.
            section = -(-file.size // 64) * 64
            file.write(56, b"\xff\xff")
            file.write(40, struct.pack("<Q", section))
            header = bytearray(64)
            struct.pack_into(
                "<I", header, 44, EDGES[one(choice, len(EDGES))] & 0xFFFFFFFF
            )
            struct.pack_into("<Q", header, 32, EDGES[one(choice, len(EDGES))])
            file.write(section, bytes(header))

    def _kdump_header(self, choice: Choice) -> None:
        file = self.kdump
        kind = one(choice, 8)
        if kind < 2:
            at, size = DISK_DUMP[one(choice, len(DISK_DUMP))]
            self._field(file, at, size, choice)
        elif kind < 5:
            at, size = SUB_HEADER[one(choice, len(SUB_HEADER))]
            self._field(file, PAGE + at, size, choice)
        elif kind == 5:
            # The bitmaps.
            at = 2 * PAGE + one(choice, self._descriptors - 2 * PAGE)
            length = min(1 << one(choice, 12), self._descriptors - at)
            file.write(
                at,
                (
                    choice.bytes(length),
                    b"\xff" * length,
                    b"\x55" * length,
                    bytes(length),
                )[one(choice, 4)],
            )
        elif kind == 6:
            # offset, size, flags, page_flags of a page.
            at, size = ((0, 8), (8, 4), (12, 4), (16, 8))[one(choice, 4)]
            self._field(
                file,
                self._descriptors + 24 * one(choice, int(self._bitmap.max())) + at,
                size,
                choice,
            )
        else:
            at = self._descriptors + one(choice, file.size - self._descriptors)
            file.write(at, choice.bytes(min(1 << one(choice, 12), file.size - at)))

    def _vmcoreinfo(self, choice: Choice, file: File) -> None:
        if file is self.elf:
            size_at, text_at, width = self._note + 4, self._note + 12 + 12, 4
        else:
            (text_at,) = struct.unpack("<Q", file.read(PAGE + 32, 8))
            size_at, width = PAGE + 40, 8
        size = int.from_bytes(file.read(size_at, width), "little")
        lines = file.read(text_at, size).rstrip(b"\0\n").split(b"\n")
        for _ in range(few(choice, 16)):
            lines = text(choice, lines) or [b""]
        info = b"\n".join(lines) + b"\n"
        if file is self.kdump:
            # Where there is room for a longer one.
            text_at = file.path.stat().st_size
            file.write(PAGE + 32, text_at.to_bytes(8, "little"))
            notes = (
                struct.pack("<III", 11, len(info), 0)
                + b"VMCOREINFO\0\0"
                + info.ljust(-(-len(info) // 4) * 4, b"\0")
            )
            file.write(text_at + len(info), notes)
            file.write(PAGE + 48, struct.pack("<QQ", text_at + len(info), len(notes)))
        else:
            note_at = -(-file.path.stat().st_size // PAGE) * PAGE
            file.write(self._phoff + 8, note_at.to_bytes(8, "little"))
            file.write(self._phoff + 32, (24 + len(info)).to_bytes(8, "little"))
            file.write(
                note_at, struct.pack("<III", 11, len(info), 0) + b"VMCOREINFO\0\0"
            )
            size_at, text_at = note_at + 4, note_at + 24
        file.write(size_at, len(info).to_bytes(width, "little"))
        file.write(text_at, info)

    def _bare(self, choice: Choice, file: File) -> None:
        """Take the file's vmcoreinfo away, and damage that in its memory."""
        if file is self.elf:
            note = self._note
        else:
            (note,) = struct.unpack("<Q", file.read(PAGE + 48, 8))
            file.write(PAGE + 32, bytes(16))
        notes = file.read(note, PAGE)
        file.write(note + notes.index(b"VMCOREINFO\0"), b"QEMU\0")
        prog = self.target.prog
        for name, header in (("vmcoreinfo_data", 0), ("vmcoreinfo_note", 24)):
            at = prog.read_u64(prog.symbol(name).address) + header
            lines = self.read(at, PAGE).rstrip(b"\0\n").split(b"\n")
            # The one that is not damaged is found in place of the other.
            for _ in range(few(choice, 16) if choice.random() < 0.8 else 0):
                lines = text(choice, lines) or [b""]
            info = b"\n".join(lines)[: PAGE - header - 1] + b"\n"
            self.write(file, at, info.ljust(PAGE - header, b"\0"))


# ---- what lies where ----------


def _symbols(prog: Program, *names: str, size: int = 64) -> Iterator[Place]:
    for name in names:
        try:
            yield Place(prog.symbol(name).address, size)
        except LookupError:
            continue


def _object(thing: Any) -> Place:
    """A structure that a pointer points to."""
    return Place(
        thing.value_(), thing.prog_.type(thing.type_.type.type_name()).size or 8
    )


def _info(target: Target, key: str) -> int:
    return int(target.vmcoreinfo[f"SYMBOL({key})"], 16)


def _btf(target: Target) -> Iterator[Place]:
    start, stop = (
        target.prog.symbol(name).address for name in ("__start_BTF", "__stop_BTF")
    )
    header = Place(start, 24)
    _, _, _, length, _, types, strings, _ = struct.unpack(
        "<HBBIIIII", target.prog.read(start, 24)
    )
    yield from (
        header,
        Place(start + length, types),
        Place(start + length, types),
        Place(start + length + strings, stop - start - length - strings),
    )
    # What everybody needs: the types of these.
    from pagedbg.target.btf import Btf

    btf = Btf(target.prog, target.prog.read(start, stop - start))
    for name in (
        "page",
        "folio",
        "zone",
        "pglist_data",
        "page_ext",
        "page_owner",
        "stack_record",
        "handle_parts",
        "mem_section",
        "task_struct",
        "list_head",
        "module",
    ):
        index = btf.find((4, 5), name)
        if index is not None:
            at = int(btf._start[index])
            yield Place(start + length + 4 * at, 4 * min(3 + 3 * btf._vlen(index), 256))


def _kallsyms(target: Target) -> Iterator[Place]:
    for name, size in (
        ("names", 1 << 19),
        ("names", 4096),
        ("num_syms", 4),
        ("token_table", 1024),
        ("token_index", 512),
        ("offsets", 1 << 16),
        ("relative_base", 8),
    ):
        yield Place(_info(target, f"kallsyms_{name}"), size)


def _depot(target: Target) -> Iterator[Place]:
    prog = target.prog
    yield from _symbols(
        prog,
        "stack_pools",
        "pools_num",
        "stack_max_pools",
        "dummy_handle",
        "failure_handle",
        "early_handle",
        "page_owner_ops",
    )
    pools = prog["stack_pools"]
    for i in range(min(prog["pools_num"].value_(), 64)):
        yield Place(pools[i].value_(), PAGE << 2)


_PFNS = (0, 0xEF0, 0x1000, 0x1200, 0x2B80, 0x8000)


def _page_ext(target: Target) -> Iterator[Place]:
    prog = target.prog
    yield from _symbols(
        prog,
        "page_ext_size",
        "page_owner_ops",
        "mem_section",
        "__highest_present_section_nr",
        "max_pfn",
        size=32,
    )
    yield Place(prog["mem_section"].value_(), 64)
    yield Place(prog["mem_section"][0].value_(), 256)
    size = prog["page_ext_size"].value_()
    for pfn in _PFNS:
        if extended := pfn_to_page_ext(prog, pfn).value_():
            yield from (Place(extended, size), Place(extended, size * 64))


def _memmap(target: Target) -> Iterator[Place]:
    prog = target.prog
    yield from _symbols(
        prog,
        "vmemmap_base",
        "page_offset_base",
        "phys_base",
        "max_pfn",
        "mem_section",
        "pageflag_names",
        "zero_pfn",
    )
    for pfn in (*_PFNS, *range(0x900, 0x2000, 0x137)):
        state = pfn_state(prog, pfn)
        if state.page:
            yield from (
                Place(state.page, 64),
                Place(state.page, 64),
                Place(state.page, 64 * 16),
            )
        for pointer in (state.mapping,):
            if pointer:
                yield Place(pointer & ~3, 128)
    yield Place(prog["mem_section"][0][0].usage.value_(), 64)
    yield from _names_of_caches(prog)


def _names_of_caches(prog: Program) -> Iterator[Place]:
    from drgn.helpers.linux.slab import for_each_slab_cache

    for cache in list(for_each_slab_cache(prog))[:32]:
        yield from (Place(cache.value_(), 128), Place(cache.name.value_(), 16))


def _log(target: Target) -> Iterator[Place]:
    prog = target.prog
    yield from _symbols(prog, "prb", size=8)
    prb = prog["prb"]
    yield _object(prb)
    yield _object(prb)
    head = (
        prb.desc_ring.head_id.counter.value_()
        & (1 << prb.desc_ring.count_bits.value_()) - 1
    )
    yield Place(prb.desc_ring.descs[max(head - 20, 0)].address_, 24 * 20)
    yield Place(prb.desc_ring.infos[max(head - 20, 0)].address_, 88 * 20)
    yield Place(prb.desc_ring.descs.value_(), 4096)
    yield Place(prb.desc_ring.infos.value_(), 4096)
    yield Place(prb.text_data_ring.data.value_(), 4096)


def _tasks(target: Target) -> Iterator[Place]:
    prog = target.prog
    yield from _symbols(prog, "init_pid_ns", "init_task", size=256)
    for task in list(for_each_task(prog))[:64]:
        yield Place(task.thread_pid.value_(), 128)
        if not task.mm:
            continue
        yield from (
            _object(task),
            Place(task.pid.address_, 64),
            Place(task.comm.address_, 16),
            Place(task.mm.address_, 16),
        )
        mm = task.mm
        yield from (
            _object(mm),
            Place(mm.mm_mt.address_, 16),
            Place(mm.pgd.value_(), PAGE),
        )
        node = mm.mm_mt.ma_root.value_() & ~0xFF
        yield from (Place(node, 256), Place(node, 256))
    root = prog["init_pid_ns"].idr.idr_rt.xa_head.value_() & ~3
    yield from (
        Place(prog["init_pid_ns"].idr.address_, 32),
        Place(root, 576),
        Place(root, 64),
    )


def _rmap(target: Target) -> Iterator[Place]:
    prog = target.prog
    mm = find_task(prog, 1).mm
    from drgn.helpers.linux.mm import for_each_vma

    for vma in list(for_each_vma(mm))[:40]:
        yield _object(vma)
        if vma.anon_vma:
            yield from (_object(vma.anon_vma), Place(vma.anon_vma.rb_root.address_, 16))
            chain = vma.anon_vma_chain.next.value_()
            yield Place(chain - 16, 64)
        if vma.vm_file:
            yield from (
                _object(vma.vm_file),
                _object(vma.vm_file.f_mapping),
                _object(vma.vm_file.f_inode),
            )
            dentry = vma.vm_file.f_path.dentry
            for _ in range(6):
                yield from (
                    Place(dentry.value_(), 96),
                    Place(dentry.d_parent.address_, 8),
                )
                dentry = dentry.d_parent.read_()
            mount = vma.vm_file.f_path.mnt
            yield from (
                Place(mount.value_() - 64, 256),
                Place(mount.mnt_sb.value_(), 256),
            )
    cgroup = prog["cgrp_dfl_root"].cgrp
    yield from (
        Place(cgroup.address_, 512),
        Place(cgroup.kn.value_(), 128),
        Place(prog["root_mem_cgroup"].value_(), 256),
    )


def _zones(target: Target) -> Iterator[Place]:
    prog = target.prog
    yield from _symbols(
        prog,
        *(
            "node_data",
            "node_states",
            "nr_node_ids",
            "nr_cpu_ids",
            "__per_cpu_offset",
            "__cpu_possible_mask",
            "__cpu_online_mask",
            "__cpu_present_mask",
        ),
        *(
            "gfpflag_names",
            "migratetype_names",
            "migrate_reason_names",
            "pageflag_names",
            "iomem_resource",
            "vm_zone_stat",
            "_totalram_pages",
        ),
    )
    node = prog["node_data"][0]
    yield from (Place(node.nr_zones.address_, 64), Place(node.value_(), PAGE))
    for i in range(5):
        zone = node.node_zones[i]
        yield from (
            Place(zone.address_, 256),
            Place(zone.name.value_() or zone.address_, 8),
            Place(zone.zone_start_pfn.address_, 64),
        )
        if zone.per_cpu_pageset:
            yield Place(
                prog["__per_cpu_offset"][0].value_() + zone.per_cpu_pageset.value_(),
                512,
            )
    for cpu in range(2):
        queue = (
            prog["__per_cpu_offset"][cpu].value_() + prog.symbol("runqueues").address
        )
        yield Place(queue, 4096)
    resource = prog["iomem_resource"].child
    for _ in range(20):
        if not resource:
            break
        yield from (_object(resource), Place(resource.name.value_(), 16))
        resource = resource.sibling.read_()


def _modules(target: Target) -> Iterator[Place]:
    prog = target.prog
    yield from _symbols(
        prog,
        "modules",
        "kprobe_table",
        "prog_idr",
        "map_idr",
        "bpf_kallsyms",
        "vmap_nodes",
        "nr_vmap_nodes",
        "vmap_area_list",
        size=512,
    )
    for module in for_each_module(prog):
        yield from (
            _object(module),
            Place(module.name.address_, 64),
            Place(module.list.address_, 16),
            _object(module.kallsyms),
        )
        yield from (
            Place(module.kallsyms.value_(), 32),
            Place(module.kallsyms.symtab.value_(), 24 * 64),
            Place(module.kallsyms.strtab.value_(), 512),
        )
        yield Place(module.mem.address_, 256)
    for bucket in prog["kprobe_table"]:
        if bucket.first:
            yield Place(bucket.first.value_(), 256)
    nodes = prog["vmap_nodes"]
    yield Place(nodes.value_(), 512)


def _rings(target: Target) -> Iterator[Place]:
    for recorder in find_recorders(target)[0]:
        from pagedbg.schema.event_record import CPU, HEADER, RECORD
        from pagedbg.schema.filter_record import FILTER

        filters, _ = recorder._address(FILTER)
        cpus, stride = recorder._address(CPU)
        slots, _ = recorder._address(RECORD)
        base = slots - int(recorder.header["slots_at"])
        yield from (
            Place(base, HEADER.itemsize),
            Place(base, HEADER.itemsize),
            Place(filters, 2 * FILTER.itemsize),
        )
        for cpu in range(recorder.cpus):
            yield from (
                Place(cpus + cpu * stride, 64),
                Place(cpus + cpu * stride, CPU.itemsize),
            )
            first = slots + cpu * recorder.slots * RECORD.itemsize
            yield from (
                Place(first, 2048),
                Place(first, min(recorder.slots * RECORD.itemsize, 1 << 18)),
            )


def _holders(target: Target) -> Iterator[Place]:
    """The structures that have whole pages for themselves."""
    prog = target.prog
    yield from _symbols(
        prog,
        *("ftrace_trace_arrays", "temp_buffer", "savedcmd", "ftrace_pages_start"),
        *("btf_idr", "bus_kset", "tcp_hashinfo", "udp_table", "mount_hashtable"),
        *("m_hash_mask", "integrity_buf_pool", "atomic_pool_kernel"),
    )
    arrays = prog["ftrace_trace_arrays"].address_of_()
    for array in list_for_each_entry("struct trace_array", arrays, "list"):
        buffer = array.array_buffer.buffer.read_()
        yield from (_object(array), _object(buffer), Place(buffer.buffers.value_(), 16))
        for cpu in range(2):
            ring = buffer.buffers[cpu].read_()
            yield from (_object(ring), Place(ring.nr_pages.address_, 64))
            yield from (_object(ring.reader_page), _object(ring.pages))
            yield Place(ring.pages.next.value_(), 64)
    if saved := prog["savedcmd"].read_():
        yield _object(saved)
    part = prog["ftrace_pages_start"].read_()
    while part:
        yield _object(part)
        part = part.next.read_()
    for btf in bpf_btf_for_each(prog):
        yield _object(btf)
    for kobject in list_for_each_entry(
        "struct kobject", prog["bus_kset"].list.address_of_(), "entry"
    ):
        private = container_of(kobject, "struct subsys_private", "subsys.kobj")
        yield from (_object(private), Place(private.klist_devices.address_, 64))
        if c_string(private.bus.name) == b"virtio":
            for device in list_for_each_entry(
                "struct device_private",
                private.klist_devices.k_list.address_of_(),
                "knode_bus.n_node",
            ):
                virtio = container_of(
                    device.device.read_(), "struct virtio_device", "dev"
                )
                yield from (_object(device), _object(virtio))
                for ring in list_for_each_entry(
                    "struct vring_virtqueue", virtio.vqs.address_of_(), "vq.list"
                ):
                    yield from (_object(ring), Place(ring.split.address_, 64))
    for disk in for_each_disk(prog):
        queue = disk.queue.read_()
        yield from (_object(disk), _object(queue))
        if queue.tag_set:
            tags = queue.tag_set.tags[0].read_()
            yield from (_object(queue.tag_set.read_()), _object(tags))
    for task in for_each_task(prog):
        if task.files:
            yield from (_object(task.files), _object(task.files.fdt))
            yield Place(task.files.fdt.fd.value_(), 64)


def _globals(target: Target) -> Iterator[Place]:
    yield from _symbols(target.prog, *GLOBALS, size=16)
    yield from _symbols(target.prog, *GLOBALS, size=128)


def _page_tables(target: Target) -> Iterator[Place]:
    prog = target.prog
    top = _info(target, "swapper_pg_dir")
    yield Place(top, PAGE)
    direct = prog["page_offset_base"].value_()
    table = [top]
    for _ in range(3):
        below = []
        for at in table:
            entries = np.frombuffer(prog.read(at, PAGE), "<u8")
            below += [
                direct + (int(entry) & 0xFFFFFFFFFF000)
                for entry in entries[entries & 1 == 1]
                if not int(entry) & 0x80
            ][:8]
        table = []
        for at in below:
            try:
                prog.read(at, PAGE)
            except FaultError:
                continue
            table.append(at)
            yield Place(at, PAGE)


PLACES: dict[str, Callable[[Target], Iterator[Place]]] = {
    "btf": _btf,
    "kallsyms": _kallsyms,
    "depot": _depot,
    "page_ext": _page_ext,
    "memmap": _memmap,
    "log": _log,
    "tasks": _tasks,
    "rmap": _rmap,
    "zones": _zones,
    "modules": _modules,
    "rings": _rings,
    "holders": _holders,
    "globals": _globals,
    "page_tables": _page_tables,
}

KINDS = ("elf", "kdump", "vmcoreinfo", "bare", *PLACES, "memory")
