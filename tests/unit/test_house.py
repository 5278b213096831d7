# SPDX-License-Identifier: GPL-2.0-or-later
"""The house: imports run one way, and each idea has one name and one file."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import pagedbg

ROOT = Path(pagedbg.__file__).parent

# A room may import from itself and from what stands behind it in this list.
ROOMS = (
    "__init__",
    "__main__",
    "plugin",
    "cli",
    "commands",
    "shell",
    "output",
    "sources",
    "analysis",
    "session",
    "capture",
    "mm",
    "target",
    "schema",
    "trust",
    "parallel",
    "progress",
    "errors",
    "start",
)

# Of what they import beside pagedbg: a row is a row without a kernel or a screen.
NEVER = {
    "schema": {"drgn", "rich", "prompt_toolkit", "duckdb"},
    "analysis": {"drgn", "rich", "prompt_toolkit"},
    "target": {"rich", "prompt_toolkit", "duckdb"},
    "mm": {"rich", "prompt_toolkit", "duckdb"},
    # DuckDB writes and reads Parquet, which full segments are sealed into.
    "capture": {"rich", "prompt_toolkit"},
    "sources": {"rich", "prompt_toolkit"},
}

FILES = sorted(ROOT.rglob("*.py"))


def room(parts: tuple[str, ...]) -> str:
    """The room of a module: a package below pagedbg, or a file in it."""
    return parts[0] if parts else "__init__"


def name(file: Path) -> tuple[str, ...]:
    """The parts of a file's name below pagedbg."""
    return file.relative_to(ROOT).with_suffix("").parts


def imported(file: Path) -> Iterator[tuple[int, str]]:
    """The modules that a file imports, lazily or for types only, too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "pagedbg":
                yield from (
                    (node.lineno, f"pagedbg.{each.name}") for each in node.names
                )
            else:
                yield node.lineno, node.module
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, each.name) for each in node.names)


@pytest.mark.parametrize("file", FILES, ids=lambda file: "/".join(name(file)))
def test_imports_run_one_way(file: Path) -> None:
    here = room(name(file))
    for line, module in imported(file):
        package, *parts = module.split(".")
        if package != "pagedbg":
            assert package not in NEVER.get(here, ()), f"line {line}: {module}"
            continue
        there = room(tuple(parts))
        if there in ROOMS:
            assert ROOMS.index(here) <= ROOMS.index(there), f"line {line}: {module}"


def test_every_room_is_in_the_list() -> None:
    assert {room(name(file)) for file in FILES} == set(ROOMS)


def test_what_is_private_to_a_folder_is_imported_there_only() -> None:
    for file in FILES:
        for line, module in imported(file):
            *folder, last = module.split(".")
            if folder[:1] == ["pagedbg"] and last.startswith("_") and last[1] != "_":
                assert tuple(folder[1:]) == name(file)[:-1], f"{file}:{line}: {module}"


def test_no_two_public_classes_have_one_name() -> None:
    found = defaultdict(list)
    for file in FILES:
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(file)
    assert {each: where for each, where in found.items() if len(where) > 1} == {}


def test_no_file_is_longer_than_one_job() -> None:
    lines = {file: len(file.read_text().splitlines()) for file in FILES}
    assert {file: count for file, count in lines.items() if count > 400} == {}


def test_every_file_begins_with_its_licence_and_what_it_is_for() -> None:
    for file in FILES:
        text = file.read_text()
        assert text.startswith("# SPDX-License-Identifier: GPL-2.0-or-later\n"), file
        assert ast.get_docstring(ast.parse(text)), file


def test_commands_holds_commands_only() -> None:
    for file in (ROOT / "commands").rglob("*.py"):
        assert file.name == "__init__.py" or not file.name.startswith("_"), file
        if file.name != "__init__.py":
            assert "@command(" in file.read_text(), file
