# SPDX-License-Identifier: GPL-2.0-or-later
"""
The BTF reader: against what bpftool reads out of this machine's own BTF, and fed with
damaged and hostile bytes.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from btf_maker import (
    ARRAY,
    CONST,
    DATASEC,
    DECL_TAG,
    ENUM,
    ENUM64,
    FLOAT,
    FUNC,
    FUNC_PROTO,
    FWD,
    INT,
    PTR,
    RESTRICT,
    STRUCT,
    TYPE_TAG,
    TYPEDEF,
    UNION,
    VAR,
    VOLATILE,
    Maker,
    changed,
)
from drgn import (
    Architecture,
    Platform,
    Program,
    Qualifiers,
    Type,
    TypeKind,
    TypeKindSet,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pagedbg.target.btf import Btf
from pagedbg.target.btf_records import BtfError

VMLINUX = Path("/sys/kernel/btf/vmlinux")
BY_NAME = {
    "STRUCT": TypeKind.STRUCT,
    "UNION": TypeKind.UNION,
    "ENUM": TypeKind.ENUM,
    "ENUM64": TypeKind.ENUM,
    "TYPEDEF": TypeKind.TYPEDEF,
    "INT": TypeKind.INT,
    "FLOAT": TypeKind.FLOAT,
}
ANY = TypeKindSet(TypeKind)
WANTED = (
    "page",
    "page_ext",
    "page_owner",
    "mem_section",
    "pglist_data",
    "zone",
    "task_struct",
    "module",
    "stack_record",
    "page_ext_flags",
)
# The compiler's names, and drgn's.
C_NAMES = {
    "short int": "short",
    "short unsigned int": "unsigned short",
    "long int": "long",
    "long unsigned int": "unsigned long",
    "long long int": "long long",
    "long long unsigned int": "unsigned long long",
}

# ---- one notation for a type, made of bpftool's JSON and made of a drgn.Type ---------


class Bpftool:
    """The types in a file as bpftool reads them, written down as nested tuples."""

    def __init__(self, path: Path) -> None:
        command = ["bpftool", "-j", "btf", "dump", "file", str(path), "format", "raw"]
        types = json.loads(
            subprocess.run(command, capture_output=True, check=True).stdout
        )["types"]
        self.types: dict[int, dict[str, Any]] = {entry["id"]: entry for entry in types}

    def named(self, *kinds: str) -> Iterator[tuple[str, int]]:
        """Name and id of the first type of each name among those of some kinds."""
        seen = set()
        for number, entry in self.types.items():
            if (
                entry["kind"] in kinds
                and entry["name"] != "(anon)"
                and entry["name"] not in seen
            ):
                seen.add(entry["name"])
                yield entry["name"], number

    def reference(self, number: int, qualifiers: frozenset[str] = frozenset()) -> Any:
        """The type where another one mentions it: by name, if it has one."""
        if number == 0:
            return qualified("void", qualifiers)
        entry = self.types[number]
        if entry["kind"] in ("CONST", "VOLATILE", "RESTRICT"):
            return self.reference(entry["type_id"], qualifiers | {entry["kind"]})
        if entry["kind"] == "TYPE_TAG":
            return self.reference(entry["type_id"], qualifiers)
        if (
            entry["kind"] in ("STRUCT", "UNION", "ENUM", "ENUM64", "TYPEDEF")
            and entry["name"] != "(anon)"
        ):
            return qualified((BY_NAME[entry["kind"]].name, entry["name"]), qualifiers)
        return qualified(self.definition(number), qualifiers)

    def definition(self, number: int) -> Any:
        """The type with all it is made of."""
        entry = self.types[number]
        name = None if entry["name"] == "(anon)" else entry["name"]
        match entry["kind"]:
            case "INT":
                assert (
                    entry["nr_bits"] == 8 * entry["size"] and entry["bits_offset"] == 0
                )
                name = C_NAMES.get(entry["name"], entry["name"])
                return (
                    "BOOL" if entry["encoding"] == "BOOL" else "INT",
                    name,
                    entry["size"],
                    entry["encoding"] == "SIGNED",
                )
            case "FLOAT":
                return ("FLOAT", name, entry["size"])
            case "PTR":
                return ("POINTER", self.reference(entry["type_id"]))
            case "ARRAY":
                return (
                    "ARRAY",
                    self.reference(entry["type_id"]),
                    entry["nr_elems"] or None,
                )
            case "STRUCT" | "UNION":
                members = tuple(
                    (
                        None if member["name"] == "(anon)" else member["name"],
                        member["bits_offset"],
                        member.get("bitfield_size") or None,
                        self.reference(member["type_id"]),
                    )
                    for member in entry["members"]
                )
                return (entry["kind"], name, entry["size"], members)
            case "ENUM" | "ENUM64":
                return (
                    "ENUM",
                    name,
                    *(
                        (entry["size"], *values(entry))
                        if entry["vlen"]
                        else ("incomplete",)
                    ),
                )
            case "FWD":
                return (entry["fwd_kind"].upper(), name, "incomplete")
            case "TYPEDEF":
                return ("TYPEDEF", name, self.reference(entry["type_id"]))
            case "FUNC_PROTO":
                parameters = [(p["name"], p["type_id"]) for p in entry["params"]]
                variadic = bool(parameters) and parameters[-1] == ("(anon)", 0)
                return (
                    "FUNCTION",
                    self.reference(entry["ret_type_id"]),
                    tuple(
                        (None if name == "(anon)" else name, self.reference(t))
                        for name, t in parameters[: -1 if variadic else None]
                    ),
                    variadic,
                )
        raise AssertionError(entry)


def values(entry: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """
    The constants of an enum; bpftool 7.1 prints unsigned ones that have the highest bit
    with all the bits above.
    """
    bits = 8 * entry["size"]
    for value in entry["values"]:
        number = value["val"] & ((1 << bits) - 1)
        signed = entry["encoding"] == "SIGNED" and number >> (bits - 1)
        yield value["name"], number - (1 << bits) if signed else number


def qualified(what: Any, qualifiers: Iterable[str]) -> Any:
    """What a type is, and how it is qualified if it is."""
    return ("qualified", *sorted(qualifiers), what) if qualifiers else what


def reference(type_: Type) -> Any:
    """Like :meth:`Bpftool.reference`."""
    qualifiers = [
        q.name
        for q in (Qualifiers.CONST, Qualifiers.VOLATILE, Qualifiers.RESTRICT)
        if q in type_.qualifiers
    ]
    if type_.kind == TypeKind.VOID:
        return qualified("void", qualifiers)
    if type_.kind == TypeKind.TYPEDEF:
        return qualified(("TYPEDEF", type_.name), qualifiers)
    if (
        type_.kind in (TypeKind.STRUCT, TypeKind.UNION, TypeKind.ENUM)
        and type_.tag is not None
        and type_.is_complete()
    ):
        return qualified((type_.kind.name, type_.tag), qualifiers)
    return qualified(definition(type_), qualifiers)


def definition(type_: Type) -> Any:
    """Like :meth:`Bpftool.definition`."""
    match type_.kind:
        case TypeKind.INT | TypeKind.BOOL:
            return (
                type_.kind.name,
                type_.name,
                type_.size,
                type_.kind == TypeKind.INT and type_.is_signed,
            )
        case TypeKind.FLOAT:
            return ("FLOAT", type_.name, type_.size)
        case TypeKind.POINTER:
            return ("POINTER", reference(type_.type))
        case TypeKind.ARRAY:
            return ("ARRAY", reference(type_.type), type_.length)
        case TypeKind.STRUCT | TypeKind.UNION if type_.is_complete():
            members = tuple(
                (m.name, m.bit_offset, m.bit_field_size, reference(m.type))
                for m in type_.members
            )
            return (type_.kind.name, type_.tag, type_.size, members)
        case TypeKind.ENUM if type_.is_complete():
            return (
                "ENUM",
                type_.tag,
                type_.type.size,
                *((e.name, e.value) for e in type_.enumerators),
            )
        case TypeKind.STRUCT | TypeKind.UNION | TypeKind.ENUM:
            return (type_.kind.name, type_.tag, "incomplete")
        case TypeKind.TYPEDEF:
            return ("TYPEDEF", type_.name, reference(type_.type))
        case TypeKind.FUNCTION:
            return (
                "FUNCTION",
                reference(type_.type),
                tuple((p.name, reference(p.type)) for p in type_.parameters),
                type_.is_variadic,
            )
    raise AssertionError(type_)


# ---- this machine's kernel ----------


@pytest.fixture(scope="module")
def bpftool() -> Bpftool:
    """What bpftool says of this kernel."""
    if not VMLINUX.exists():
        pytest.skip("this machine's kernel has no BTF")
    return Bpftool(VMLINUX)


@pytest.fixture(scope="module")
def btf() -> Btf:
    """What we say of it."""
    if not VMLINUX.exists():
        pytest.skip("this machine's kernel has no BTF")
    return Btf(Program(Platform(Architecture.X86_64)), VMLINUX.read_bytes())


@pytest.fixture(scope="module")
def prog(btf: Btf) -> Program:
    """A program whose types are this kernel's."""
    prog = btf._prog
    prog.register_type_finder("btf", btf.find_type, enable_index=0)
    return prog


def test_every_record_is_found(bpftool: Bpftool, btf: Btf) -> None:
    assert len(btf) == len(bpftool.types) + 1
    assert len(bpftool.types) > 10_000


@pytest.mark.parametrize(
    "keyword, kinds",
    [
        ("struct", ["STRUCT"]),
        ("union", ["UNION"]),
        ("enum", ["ENUM", "ENUM64"]),
        ("", ["TYPEDEF"]),
    ],
)
@pytest.mark.once
def test_named_types_have_the_size_the_members_and_the_values_that_bpftool_reads(
    bpftool: Bpftool, prog: Program, keyword: str, kinds: list[str]
) -> None:
    named = list(bpftool.named(*kinds))
    assert len(named) > 100
    # A third of the thousands there are, and those that pagedbg asks for.
    sample = named[::3] + [(name, number) for name, number in named if name in WANTED]
    differing = [
        name
        for name, number in sample
        if definition(prog.type(f"{keyword} {name}".strip()))
        != bpftool.definition(number)
    ]
    assert not differing


def test_bit_fields_keep_their_width_and_place(prog: Program) -> None:
    flags = {
        m.name: m
        for m in prog.type(
            "struct sk_buff" if _has(prog, "struct sk_buff") else "struct task_struct"
        ).members
    }
    narrow = [m for m in flags.values() if m.bit_field_size]
    assert narrow
    # Neighbours share a unit and do not overlap.
    taken = [(m.bit_offset, m.bit_offset + m.bit_field_size) for m in narrow]
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(taken))


def _has(prog: Program, name: str) -> bool:
    try:
        prog.type(name)
    except LookupError:
        return False
    return True


@pytest.mark.once
def test_functions_have_the_parameters_that_bpftool_reads(
    bpftool: Bpftool, btf: Btf
) -> None:
    functions = list(bpftool.named("FUNC"))
    assert len(functions) > 1000
    for name, number in functions[::20]:
        found = btf.function_type(name)
        assert found is not None
        assert definition(found) == bpftool.definition(
            bpftool.types[number]["type_id"]
        ), name


def test_per_cpu_variables_have_the_type_that_bpftool_reads(
    bpftool: Bpftool, btf: Btf
) -> None:
    variables = list(bpftool.named("VAR"))
    assert variables
    for name, number in variables:
        found = btf.variable_type(name)
        assert found is not None
        assert reference(found) == bpftool.reference(
            bpftool.types[number]["type_id"]
        ), name


def test_constants_are_found_by_name(bpftool: Bpftool, btf: Btf) -> None:
    first: dict[str, int] = {}
    for kind in ("ENUM", "ENUM64"):
        for entry in bpftool.types.values():
            if entry["kind"] == kind:
                for name, value in values(entry):
                    first.setdefault(name, value)
    for name, value in list(first.items())[::10]:
        constant = btf.enumerator(name)
        assert constant is not None
        assert constant.value_() == value, name


def test_pahole_agrees_on_struct_page(btf: Btf, prog: Program) -> None:
    said = subprocess.run(
        ["pahole", "--sizes", str(VMLINUX)], capture_output=True, text=True, check=True
    ).stdout
    sizes = {
        name: int(size)
        for name, size, _ in (line.split("\t") for line in said.splitlines())
    }
    for name in ("page", "zone", "task_struct", "mem_section", "list_head"):
        if name in sizes:
            assert prog.type(f"struct {name}").size == sizes[name]
    assert "page" in sizes


def test_what_is_not_there_is_not_found(btf: Btf, prog: Program) -> None:
    assert btf.function_type("no_such_function") is None
    assert btf.variable_type("no_such_variable") is None
    assert btf.enumerator("NO_SUCH_CONSTANT") is None
    # A function is no variable, a struct no union, and a name is taken whole.
    assert btf.variable_type("vfs_read") is None
    for name in (
        "struct no_such_struct",
        "union task_struct",
        "struct task_struc",
        "struct ask_struct",
    ):
        with pytest.raises(LookupError):
            prog.type(name)


def test_a_type_in_a_file_is_left_to_other_finders(btf: Btf, prog: Program) -> None:
    assert (
        btf.find_type(
            prog, TypeKindSet([TypeKind.STRUCT]), "task_struct", "include/linux/sched.h"
        )
        is None
    )


# ---- hand-made BTF ----------


def new_program() -> Program:
    """A program without types."""
    return Program(Platform(Architecture.X86_64))


def every_kind() -> Maker:
    """A blob with a record of every kind there is."""
    m = Maker()
    m.add(INT, "int", 4, 1 << 24 | 32)  # 1
    m.add(PTR, "", 4)  # 2
    m.add(ARRAY, "", 0, 1, 1, 3)  # 3
    m.add(
        STRUCT, "node", 16, m.string("next"), 2, 0, m.string("flags"), 1, 64, vlen=2
    )  # 4
    m.add(
        UNION, "either", 12, m.string("array"), 3, 0, m.string("one"), 1, 0, vlen=2
    )  # 5
    m.add(
        ENUM, "color", 4, m.string("RED"), -1, m.string("GREEN"), 7, vlen=2, flag=True
    )  # 6
    m.add(FWD, "elsewhere", 0)  # 7
    m.add(TYPEDEF, "node_t", 4)  # 8
    m.add(VOLATILE, "", 1)  # 9
    m.add(CONST, "", 9)  # 10
    m.add(RESTRICT, "", 2)  # 11
    m.add(FUNC_PROTO, "", 1, m.string("head"), 11, 0, 0, vlen=2)  # 12
    m.add(FUNC, "walk", 12)  # 13
    m.add(VAR, "cpu_number", 10, 0)  # 14
    m.add(DATASEC, ".data..percpu", 4, 14, 0, 4, vlen=1)  # 15
    m.add(FLOAT, "double", 8)  # 16
    m.add(DECL_TAG, "bpf_kfunc", 13, -1)  # 17
    m.add(TYPE_TAG, "percpu", 4)  # 18
    m.add(ENUM64, "wide", 8, m.string("FAR"), 1, 2, vlen=1)  # 19
    m.add(
        STRUCT,
        "bits",
        4,
        m.string("low"),
        1,
        3 << 24,
        m.string("high"),
        1,
        29 << 24 | 3,
        vlen=2,
        flag=True,
    )  # 20
    m.add(INT, "_Bool", 1, 4 << 24 | 8)  # 21
    m.add(FWD, "", 0, flag=True)  # 22
    return m


def test_every_kind_of_record_becomes_the_drgn_type_that_it_means() -> None:
    prog = new_program()
    btf = Btf(prog, every_kind().blob())
    prog.register_type_finder("btf", btf.find_type, enable_index=0)
    integer = ("INT", "int", 4, True)
    assert definition(prog.type("struct node")) == (
        "STRUCT",
        "node",
        16,
        (
            ("next", 0, None, ("POINTER", ("STRUCT", "node"))),
            ("flags", 64, None, integer),
        ),
    )
    assert definition(prog.type("union either")) == (
        "UNION",
        "either",
        12,
        (("array", 0, None, ("ARRAY", integer, 3)), ("one", 0, None, integer)),
    )
    assert definition(prog.type("enum color")) == (
        "ENUM",
        "color",
        4,
        ("RED", -1),
        ("GREEN", 7),
    )
    assert definition(prog.type("enum wide")) == (
        "ENUM",
        "wide",
        8,
        ("FAR", 2 << 32 | 1),
    )
    assert definition(prog.type("node_t")) == ("TYPEDEF", "node_t", ("STRUCT", "node"))
    assert definition(prog.type("struct bits"))[3] == (
        ("low", 0, 3, integer),
        ("high", 3, 29, integer),
    )
    assert definition(prog.type("double")) == ("FLOAT", "double", 8)
    assert definition(prog.type("_Bool")) == ("BOOL", "_Bool", 1, False)
    walk = btf.function_type("walk")
    assert walk is not None
    restricted = ("qualified", "RESTRICT", ("POINTER", ("STRUCT", "node")))
    assert definition(walk) == ("FUNCTION", integer, (("head", restricted),), True)
    number = btf.variable_type("cpu_number")
    assert number is not None
    assert reference(number) == ("qualified", "CONST", "VOLATILE", integer)
    green = btf.enumerator("GREEN")
    assert green is not None
    assert green.value_() == 7


def test_a_longer_header_and_wide_counts_of_newer_kernels_are_read() -> None:
    m = Maker()
    m.add(INT, "int", 4, 1 << 24 | 32)
    count = 0x12345  # more than the 16 bits that a count had before 7.x
    value = m.string("value")
    words = [word for i in range(count) for word in (value, i)]
    m.add(ENUM, "big", 4, *words, vlen=count)
    btf = Btf(new_program(), m.blob(extra_header=8))
    assert len(btf) == 3
    enumerators = btf.type(2).enumerators
    assert enumerators is not None
    assert len(enumerators) == count


@pytest.mark.parametrize(
    "data, sentence",
    [
        (b"", "too short"),
        (b"\x9f\xeb\x01\x00", "too short"),
        (b"\x7fELF" + bytes(60), "magic number"),
        (every_kind().blob()[:-1], "cut short"),
        (every_kind().blob()[:100], "cut short"),
        (Maker().blob(), "no types"),
        (Maker().add(20, "", 0).blob(), "unknown kind (type 1)"),
        (Maker().add(INT, "int", 4, 32).add(0, "", 0).blob(), "unknown kind (type 2)"),
        (Maker().add(STRUCT, "s", 4, vlen=9).blob(), "ends inside a record"),
    ],
)
def test_what_is_no_btf_is_refused_in_one_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(BtfError) as refusal:
        Btf(new_program(), data)
    assert sentence in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "maker",
    [
        Maker().add(CONST, "", 1),
        Maker().add(TYPEDEF, "mine", 2).add(CONST, "", 1),
        Maker().add(PTR, "", 1),
        Maker().add(PTR, "", 77),
        Maker().add(ARRAY, "", 0, 1, 1, 2),
        Maker().add(STRUCT, "s", 4, 0xFFFFFF, 1, 0, vlen=1),
        Maker().add(DATASEC, "s", 4),
        Maker().add(INT, "int", 0, 0),
        Maker().add(INT, "int", 1 << 31, 0),
        Maker().add(ENUM, "e", 3, 0, 5, vlen=1),
        Maker()
        .add(INT, "int", 4, 32)
        .add(STRUCT, "s", 4, 0, 1, 200 << 24, vlen=1, flag=True),
    ],
    ids=[
        "const of itself",
        "typedef cycle",
        "pointer to itself",
        "no such type",
        "array of itself",
        "name outside",
        "data section",
        "no size",
        "vast",
        "enum of three bytes",
        "bit field too wide",
    ],
)
def test_a_record_that_makes_no_sense_is_refused_when_it_is_looked_at(
    maker: Maker,
) -> None:
    btf = Btf(new_program(), maker.blob())
    with pytest.raises(BtfError):
        touch(btf, len(btf) - 1)
        # Not refused is fine only for what can be looked at in full.
        raise BtfError("looked at in full")


def touch(btf: Btf, index: int) -> None:
    """Look at everything of a type that a look-up may lead to."""
    type_ = btf.type(index)
    for member in (
        getattr(type_, "members", None) or ()
        if type_.kind in (TypeKind.STRUCT, TypeKind.UNION)
        else ()
    ):
        _ = member.type, member.bit_field_size
    for parameter in type_.parameters if type_.kind == TypeKind.FUNCTION else ():
        _ = parameter.type


def touch_all(data: bytes, names: Iterable[str]) -> None:
    """Look at all that is in a blob; BtfError is the one way to refuse."""
    prog = new_program()
    try:
        btf = Btf(prog, data)
    except BtfError:
        return
    for index in range(min(len(btf), 200)):
        with contextlib.suppress(BtfError):
            touch(btf, index)
    for name in names:
        for look_up in (
            lambda name: btf.find_type(prog, ANY, name, None),
            btf.variable_type,
            btf.function_type,
            btf.enumerator,
        ):
            with contextlib.suppress(BtfError):
                look_up(name)


GOOD = every_kind().blob()
NAMES = [name.decode() for name in every_kind().strings.split(b"\0")]
hostile = settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@hostile
@given(st.binary(max_size=200))
def test_arbitrary_bytes_never_raise_anything_but_btf_error(data: bytes) -> None:
    touch_all(data, NAMES)
    touch_all(GOOD[:24] + data, NAMES)


@hostile
@given(changed(GOOD))
def test_changed_bytes_never_raise_anything_but_btf_error(data: bytes) -> None:
    touch_all(data, NAMES)


@hostile
@given(
    st.lists(
        st.tuples(
            st.integers(1, 19),
            st.sampled_from(["", "int", "s", "t"]),
            st.integers(0, 12) | st.integers(0, 0xFFFFFFFF),
            st.lists(st.integers(0, 12) | st.integers(0, 0xFFFFFFFF), max_size=12),
            st.booleans(),
        ),
        max_size=12,
    )
)
def test_well_formed_nonsense_never_raises_anything_but_btf_error(
    records: list[tuple[int, str, int, list[int], bool]],
) -> None:
    fixed = {INT: 1, ARRAY: 3, VAR: 1, DECL_TAG: 1}
    each = {STRUCT: 3, UNION: 3, ENUM: 2, FUNC_PROTO: 2, DATASEC: 3, ENUM64: 3}
    maker = Maker()
    for kind, name, size_or_type, words, flag in records:
        vlen = len(words) // each[kind] if kind in each else 0
        count = vlen * each[kind] if kind in each else fixed.get(kind, 0)
        maker.add(
            kind, name, size_or_type, *(words + [0] * 3)[:count], vlen=vlen, flag=flag
        )
    touch_all(maker.blob(), ["int", "s", "t"])


@hostile
@given(st.integers(0, len(GOOD)))
def test_a_blob_that_is_cut_anywhere_is_refused(length: int) -> None:
    if length < len(GOOD):
        with pytest.raises(BtfError):
            Btf(new_program(), GOOD[:length])
