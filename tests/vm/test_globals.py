# SPDX-License-Identifier: GPL-2.0-or-later
"""
The types that pagedbg declares for the kernel's variables, against the debug info of
each kernel.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from booted import KERNELS, kernels
from drgn import Architecture, Platform, Program, Type, TypeKind

from pagedbg.target.declarations import GLOBALS


def shape(kind: Type) -> Any:
    """What a type is apart from qualifiers, typedefs and the length of its arrays."""
    while kind.kind == TypeKind.TYPEDEF:
        kind = kind.type
    if kind.kind == TypeKind.POINTER:
        return "pointer", shape(kind.type)
    if kind.kind == TypeKind.ARRAY:
        return "array", shape(kind.type)
    if kind.kind in (TypeKind.STRUCT, TypeKind.UNION, TypeKind.ENUM):
        return kind.kind, kind.tag, kind.size
    if kind.kind == TypeKind.INT:
        return kind.kind, kind.size, kind.is_signed
    return kind.kind


@pytest.fixture(scope="module", params=KERNELS)
def debug_info(request: pytest.FixtureRequest) -> Program:
    """A kernel's debug info, with no kernel behind it."""
    prog = Program(Platform(Architecture.X86_64))
    prog.extra_module("vmlinux", create=True).try_file(
        kernels.build(request.param, say=print).vmlinux, force=True
    )
    return prog


def test_declared_types_are_those_of_the_debug_info(debug_info: Program) -> None:
    seen = 0
    for name, declaration in GLOBALS.items():
        try:
            variable = debug_info.variable(name)
        except LookupError:
            continue
        lengths = {
            match: str(debug_info.constant(match).value_())
            for match in re.findall(r"\{(\w+)\}", declaration)
        }
        declared = debug_info.type(declaration.replace("[*]", "[]").format(**lengths))
        assert shape(declared) == shape(variable.type_), name
        if lengths:
            assert declared.length == variable.type_.length, name
        seen += 1
    assert seen > 50
