# SPDX-License-Identifier: GPL-2.0-or-later
"""The schema: each column is defined once, and contrib/schema.md says the same."""

from __future__ import annotations

import ast
import importlib
import re
from collections import Counter
from pathlib import Path

import pytest

import pagedbg
from pagedbg.analysis.keys import KEYS
from pagedbg.schema.allocation_columns import ALLOCATION_KEYS
from pagedbg.schema.block_columns import BLOCK_KEYS
from pagedbg.schema.columns import SchemaColumn
from pagedbg.schema.relations import RELATIONS, SCHEMA_VERSION

ROOT = Path(pagedbg.__file__).parent
DOCUMENT = (Path(__file__).parents[2] / "contrib/schema.md").read_text(encoding="utf-8")

JSON_TYPES = {
    "int": "number",
    "hex": "number",
    "float": "number",
    "bool": "true/false",
    "str": "string",
    "bytes": "number",
    "share": "number",
    "ns": "number",
    "list": "list of strings",
    "stack": "list of strings",
    "series": "list of numbers",
}

FILES = [
    importlib.import_module(f"pagedbg.schema.{file.stem}")
    for file in sorted((ROOT / "schema").glob("*columns.py"))
]

DEFINED = [
    each
    for file in FILES
    for name, each in vars(file).items()
    # A private one is another's, with a meaning of its own.
    if isinstance(each, SchemaColumn) and not name.startswith("_")
]


NAMES = {
    tuple(column.name for column in fields): name for name, fields in RELATIONS.items()
}


def json_type(column: SchemaColumn) -> str:
    """What the document calls what JSON has in a column."""
    if column.kind not in ("row", "rows"):
        return JSON_TYPES[column.kind]
    relation = NAMES[tuple(each.name for each in column.fields)]
    several = "list of objects" if column.kind == "rows" else "object"
    return f"{several} ([{relation}](#{relation}))"


def sections() -> dict[str, str]:
    """What the document says of each relation, by name."""
    _, *parts = re.split(r"^## ", DOCUMENT, flags=re.MULTILINE)
    found = dict(part.split("\n", 1) for part in parts)
    del found["Change log"]
    return found


def test_no_name_is_defined_twice() -> None:
    counts = Counter(column.name for column in DEFINED)
    assert [name for name, count in counts.items() if count > 1] == []


def test_a_column_is_called_as_scripts_call_it() -> None:
    for file in FILES:
        for name, each in vars(file).items():
            if isinstance(each, SchemaColumn) and not name.startswith("_"):
                assert name == each.name.upper()


@pytest.mark.parametrize("column", DEFINED, ids=lambda column: column.name)
def test_every_meaning_is_one_sentence(column: SchemaColumn) -> None:
    assert re.fullmatch(r"[A-Z0-9].*[^.]\.", column.meaning)
    assert not re.search(r"[.!?]\s", column.meaning)
    assert "|" not in column.meaning and "\n" not in column.meaning


@pytest.mark.parametrize("column", DEFINED, ids=lambda column: column.name)
def test_a_kind_that_has_a_unit_has_this_one(column: SchemaColumn) -> None:
    units = {"ns": "ns", "bytes": "bytes", "share": "%"}
    assert column.unit == units.get(column.kind, column.unit)


def test_every_column_is_in_a_relation() -> None:
    used = {column.name for each in RELATIONS.values() for column in each}
    assert used == {column.name for column in DEFINED}


@pytest.mark.parametrize("relation", RELATIONS)
def test_no_relation_has_a_column_twice(relation: str) -> None:
    names = [column.name for column in RELATIONS[relation]]
    assert len(names) == len(set(names))


def test_what_can_be_summed_up_by_is_in_the_schema() -> None:
    columns = {*BLOCK_KEYS, *ALLOCATION_KEYS}
    assert {column.name for column in columns} == set(KEYS)


def test_a_relation_is_in_the_file_of_its_columns() -> None:
    """So that a column is added in one file, and filled in another."""
    for relation in RELATIONS.values():
        assert any(relation is each for file in FILES for each in vars(file).values())


def test_nothing_else_makes_columns() -> None:
    schema = {file.__file__ for file in FILES}
    for file in sorted(ROOT.rglob("*.py")):
        made = [
            node.lineno
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Column")
        ]
        assert not made or str(file) in schema, f"{file}: {made}"


def test_the_document_has_the_version() -> None:
    title, rest = DOCUMENT.split("\n", 1)
    assert title.endswith(f", version {SCHEMA_VERSION}")
    changes = re.findall(r"^- (\d+): \S", rest, re.MULTILINE)
    assert changes == [str(number) for number in range(1, SCHEMA_VERSION + 1)]


def test_the_document_has_every_relation() -> None:
    assert list(sections()) == list(RELATIONS)


@pytest.mark.parametrize("relation", RELATIONS)
def test_the_document_says_what_the_code_says(relation: str) -> None:
    heading, rule, *rows = re.findall(r"^\|.*\|$", sections()[relation], re.MULTILINE)
    assert heading == "| column | type | unit | meaning |"
    assert set(rule) == {"|", "-"}
    assert [[cell.strip() for cell in row[1:-1].split("|")] for row in rows] == [
        [f"`{column.name}`", json_type(column), column.unit, column.meaning]
        for column in RELATIONS[relation]
    ]


@pytest.mark.parametrize("relation", RELATIONS)
def test_the_document_says_what_may_be_null(relation: str) -> None:
    found = re.search(r"^May be null: (.*)\.$", sections()[relation], re.MULTILINE)
    assert found
    named = re.findall(r"`(\w+)`", found[1])
    assert named or found[1] == "none"
    assert set(named) <= {column.name for column in RELATIONS[relation]}


@pytest.mark.parametrize("relation", RELATIONS)
def test_the_document_says_which_commands_give_it(relation: str) -> None:
    assert re.match(r"\nGiven by `[a-z]+", sections()[relation])
