# SPDX-License-Identifier: GPL-2.0-or-later
"""
Read BTF, the type information that a kernel carries in its own memory, and hand it to
drgn.

The format is the kernel's ``Documentation/bpf/btf.rst``. A distribution kernel has 80
to 150 thousand types of which a session uses a few dozen: the records are indexed in
bulk and a ``drgn.Type`` is built when somebody asks for it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import numpy as np
from drgn import (
    Object,
    Program,
    Qualifiers,
    Type,
    TypeEnumerator,
    TypeKind,
    TypeKindSet,
    TypeMember,
    TypeParameter,
)

from pagedbg.target.btf_records import (
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
    BtfError,
    record_starts,
    sections,
)

_VOID = 0

_INT_SIGNED = 1 << 24
_INT_BOOL = 4 << 24

_QUALIFIERS = {
    VOLATILE: Qualifiers.VOLATILE,
    CONST: Qualifiers.CONST,
    RESTRICT: Qualifiers.RESTRICT,
}

_KINDS = {
    TypeKind.INT: (INT,),
    TypeKind.BOOL: (INT,),
    TypeKind.FLOAT: (FLOAT,),
    TypeKind.STRUCT: (STRUCT,),
    TypeKind.UNION: (UNION,),
    TypeKind.ENUM: (ENUM, ENUM64),
    TypeKind.TYPEDEF: (TYPEDEF,),
}

# What everything else is read by, on x86-64 and arm64: C's names of integers without
# "unsigned", "signed" and what else may stand there.
_C_SIZES = {"char": 1, "short": 2, "": 4, "long": 8, "long long": 8}

# A structure of a kernel has some hundred members at most, and an enum some thousand
# constants.
_MOST_MEMBERS = 1 << 16

# What drgn and Python say of records that are formed well and mean nothing.
_NONSENSE = (ArithmeticError, LookupError, RecursionError, TypeError, ValueError)


@functools.cache
def _kinds_of(kinds: TypeKindSet) -> tuple[int, ...]:
    """Which ``BTF_KIND_*`` may be of some kinds of drgn's, which asks for each name."""
    return tuple(k for kind in kinds for k in _KINDS.get(kind, ()))


class Btf:
    """
    The types in one BTF blob, for one program.

    :param data: the blob: ``/sys/kernel/btf/vmlinux``, or ``__start_BTF`` to
        ``__stop_BTF``
    :raises BtfError: if the blob is damaged or has a record that is not known
    """

    def __init__(self, prog: Program, data: bytes) -> None:
        self._prog = prog
        self._types: dict[int, Type] = {}
        self._building: set[int] = set()
        types, strings = sections(data)
        self._strings = strings
        self._offsets: dict[str, tuple[int, ...]] = {}
        self._ids: dict[tuple[tuple[int, ...], str], int | None] = {}
        self._words = np.frombuffer(types, "<u4")
        self._start = record_starts(types)
        self._name = self._words[self._start]
        self._info = self._words[self._start + 1]
        self._kind = (self._info >> 24) & 0x7F
        # Type 0 is void and has no record.
        self._kind[_VOID] = 0
        self._enumerators: tuple[np.ndarray, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self._start)

    @property
    def has_globals(self) -> bool:
        """
        Whether variables are described that are not per-CPU: then there is more than
        one section of them.
        """
        return int(np.count_nonzero(self._kind == DATASEC)) > 1

    # ---- look-up ----

    def find(self, kinds: tuple[int, ...], name: str) -> int | None:
        """
        Return the record of the first type of one of ``kinds`` (``BTF_KIND_*``) called
        ``name``.
        """
        # drgn asks again and again, and there are some hundred thousand of them.
        if (kinds, name) not in self._ids:
            self._ids[kinds, name] = self._find(kinds, name)
        return self._ids[kinds, name]

    def _find(self, kinds: tuple[int, ...], name: str) -> int | None:
        if not (offsets := self._string_offsets(name)):
            return None
        for index in np.flatnonzero(np.isin(self._name, offsets)):
            if int(self._kind[index]) in kinds:
                return int(index)
        return None

    def find_type(
        self, prog: Program, kinds: TypeKindSet, name: str, filename: str | None
    ) -> Type | None:
        """A drgn type finder."""
        if filename is not None:
            return None
        index = self.find(_kinds_of(kinds), name)
        if index is None:
            return None
        found = self.type(self._id(index))
        return found if found.kind in kinds else None

    def variable_type(self, name: str) -> Type | None:
        """The type of a variable: BTF has the per-CPU ones only."""
        index = self.find((VAR,), name)
        return None if index is None else self.type(self._referred(index))

    def function_type(self, name: str) -> Type | None:
        """The type of a function."""
        index = self.find((FUNC,), name)
        return None if index is None else self.type(self._referred(index))

    def enumerator(self, name: str) -> Object | None:
        """The constant called ``name``."""
        if not (offsets := self._string_offsets(name)):
            return None
        names, owners = self._enumerator_index()
        hits = np.flatnonzero(np.isin(names, offsets))
        if not len(hits):
            return None
        enum = self.type(self._id(int(owners[hits[0]])))
        for enumerator in enum.enumerators or ():
            if enumerator.name == name:
                return Object(self._prog, enum, enumerator.value)
        return None

    def type(self, index: int) -> Type:
        """Return the type with this id."""
        if index not in self._types:
            if index in self._building:
                raise BtfError(
                    f"The kernel's BTF is damaged: type {index} contains itself."
                )
            self._building.add(index)
            try:
                self._types[index] = self._build(index)
            except _NONSENSE as error:
                raise BtfError(
                    f"The kernel's BTF is damaged: type {index} makes no sense"
                    f" ({error})."
                ) from None
            finally:
                self._building.remove(index)
        return self._types[index]

    # ---- records ----

    def _id(self, record: int) -> int:
        """The id of the type that a record is of."""
        return record

    def _string(self, offset: int) -> str:
        return self._strings[offset : self._strings.index(b"\0", offset)].decode()

    def _string_offsets(self, name: str) -> tuple[int, ...]:
        """Where a string is."""
        # libbpf's deduplication leaves each string once, so the first match is the only
        # one.
        if name not in self._offsets:
            at = self._strings.find(b"\0" + name.encode() + b"\0") + 1
            self._offsets[name] = (at,) if at else ()
        return self._offsets[name]

    def _enumerator_index(self) -> tuple[np.ndarray, np.ndarray]:
        if self._enumerators is None:
            names, owners = [], []
            for kind, each in ((ENUM, 2), (ENUM64, 3)):
                for index in np.flatnonzero(self._kind == kind):
                    start, count = int(self._start[index]) + 3, self._vlen(int(index))
                    names.append(self._words[start : start + count * each : each])
                    owners.append(np.full(count, index))
            self._enumerators = (
                (np.concatenate(names), np.concatenate(owners))
                if names
                else (np.zeros(0), np.zeros(0))
            )
        return self._enumerators

    def _vlen(self, index: int) -> int:
        return int(self._info[index]) & 0xFFFFFF

    def _flag(self, index: int) -> bool:
        return bool(self._info[index] >> 31)

    def _referred(self, index: int) -> int:
        """``size`` or ``type`` of struct btf_type, which share a word."""
        return int(self._words[self._start[index] + 2])

    def _extra(self, index: int, each: int) -> Iterator[tuple[int, ...]]:
        start = int(self._start[index]) + 3
        words = self._words[start : start + self._vlen(index) * each].tolist()
        return zip(*(words[i::each] for i in range(each)), strict=True)

    # ---- drgn types ----

    def _build(self, index: int) -> Type:
        if not 0 <= index < len(self):
            raise BtfError(f"BTF refers to type {index}, but has only {len(self)}.")
        if index == _VOID:
            return self._prog.void_type()
        kind = int(self._kind[index])
        if kind in _QUALIFIERS:
            inner = self.type(self._referred(index))
            return inner.qualified(inner.qualifiers | _QUALIFIERS[kind])
        if kind in (TYPE_TAG, VAR, DECL_TAG, FUNC):
            return self.type(self._referred(index))
        return _BUILDERS[kind](self, index, self._string(int(self._name[index])))

    def _int(self, index: int, name: str) -> Type:
        encoding = int(self._words[self._start[index] + 3])
        size = self._referred(index)
        words = [
            word for word in name.split() if word not in ("int", "unsigned", "signed")
        ]
        if (
            name.replace(" ", "").isalpha()
            and _C_SIZES.get(" ".join(words), size) != size
        ):
            raise BtfError(
                f"The kernel's BTF is damaged: {name} would have {size} bytes."
            )
        if encoding & _INT_BOOL:
            return self._prog.bool_type(name, size)
        return self._prog.int_type(name, size, bool(encoding & _INT_SIGNED))

    def _float(self, index: int, name: str) -> Type:
        return self._prog.float_type(name, self._referred(index))

    def _pointer(self, index: int, name: str) -> Type:
        return self._prog.pointer_type(self.type(self._referred(index)))

    def _array(self, index: int, name: str) -> Type:
        start = int(self._start[index]) + 3
        element, _, length = self._words[start : start + 3].tolist()
        # BTF cannot tell [] from [0]; today's kernel writes flexible arrays as [].
        return self._prog.array_type(self.type(element), length or None)

    def _compound(self, index: int, name: str) -> Type:
        make = (
            self._prog.struct_type
            if self._kind[index] == STRUCT
            else self._prog.union_type
        )
        bitfields, size = self._flag(index), self._referred(index)
        members = []
        if self._vlen(index) > _MOST_MEMBERS:
            raise BtfError(
                f"The kernel's BTF is damaged: {name or index} would have"
                f" {self._vlen(index):,} members."
            )
        for name_offset, member, offset in self._extra(index, 3):
            bits = offset >> 24 if bitfields else 0
            at = offset & 0xFFFFFF if bitfields else offset
            if at > 8 * size:
                raise BtfError(
                    f"The kernel's BTF is damaged: a member of {name or index} lies"
                    " outside of it."
                )
            members.append(
                TypeMember(
                    self._member(member, bits), self._string(name_offset) or None, at
                )
            )
        return make(name or None, size, members)

    def _member(self, index: int, bits: int) -> Callable[[], Object]:
        def member() -> Object:
            try:
                found = self.type(index)
                if found.unaliased_kind() not in (TypeKind.VOID, TypeKind.FUNCTION):
                    return Object(self._prog, found, bit_field_size=bits or None)
                error: object = "it has no size"
            except _NONSENSE as reason:
                error = reason
            raise BtfError(
                f"The kernel's BTF is damaged: no member can be of type {index}"
                f" ({error})."
            ) from None

        return member

    def _enum(self, index: int, name: str) -> Type:
        signed, size = self._flag(index), self._referred(index)
        if size not in (1, 2, 4, 8, 16):
            raise BtfError(
                f"The kernel's BTF is damaged: enum {name or index} has {size} bytes."
            )
        bits = 8 * size
        enumerators = []
        for name_offset, *words in self._extra(
            index, 2 if self._kind[index] == ENUM else 3
        ):
            value = words[0] if len(words) == 1 else words[0] | words[1] << 32
            if signed and value >> (8 * 4 * len(words) - 1):
                value -= 1 << (8 * 4 * len(words))
            enumerators.append(TypeEnumerator(self._string(name_offset), value))
        compatible = self._prog.int_type(
            {1: "char", 2: "short", 4: "int", 8: "long"}.get(size, f"int{bits}"),
            size,
            signed,
        )
        if not enumerators:
            return self._prog.enum_type(name or None)
        return self._prog.enum_type(name or None, compatible, enumerators)

    def _forward(self, index: int, name: str) -> Type:
        return (self._prog.union_type if self._flag(index) else self._prog.struct_type)(
            name
        )

    def _typedef(self, index: int, name: str) -> Type:
        return self._prog.typedef_type(name, self.type(self._referred(index)))

    def _function(self, index: int, name: str) -> Type:
        pairs = list(self._extra(index, 2))
        variadic = bool(pairs) and pairs[-1] == (0, 0)
        parameters = [
            TypeParameter(self._member(parameter, 0), self._string(name_offset) or None)
            for name_offset, parameter in (pairs[:-1] if variadic else pairs)
        ]
        return self._prog.function_type(
            self.type(self._referred(index)), parameters, variadic
        )


_BUILDERS: dict[int, Callable[[Btf, int, str], Type]] = {
    INT: Btf._int,
    FLOAT: Btf._float,
    PTR: Btf._pointer,
    ARRAY: Btf._array,
    STRUCT: Btf._compound,
    UNION: Btf._compound,
    ENUM: Btf._enum,
    ENUM64: Btf._enum,
    FWD: Btf._forward,
    TYPEDEF: Btf._typedef,
    FUNC_PROTO: Btf._function,
}
