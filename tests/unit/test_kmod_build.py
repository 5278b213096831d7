# SPDX-License-Identifier: GPL-2.0-or-later
"""
What of the module back end needs no kernel: the table that it writes, and why a module
cannot be built.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pagedbg.capture.backends import kmod_build
from pagedbg.errors import PagedbgError


def test_without_headers_it_is_said_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(PagedbgError, match=r"apt install linux-headers-6\.99-test"):
        kmod_build.build("6.99-test", tmp_path / "build")


@pytest.mark.parametrize("missing", ["make", "gcc"])
def test_without_a_compiler_it_is_said_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    for name in {"make", "gcc"} - {missing}:
        (tmp_path / name).symlink_to("/bin/true")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(PagedbgError, match=f"apt install {missing}"):
        kmod_build.build("6.99-test", tmp_path)


def test_what_make_says_is_the_reason_and_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "Makefile").write_text(
        "modules:\n\t@echo 'Makefile: error: no such compiler' >&2; exit 1\n"
    )
    with pytest.raises(
        PagedbgError, match="cannot be built: Makefile: error: no such compiler"
    ):
        kmod_build.build("6.99-test", tmp_path)
    assert not list((tmp_path / "cache" / "pagedbg" / "kmod").iterdir())


def test_make_of_another_machine_is_a_reason_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("make", "gcc"):
        (tmp_path / name).write_bytes(b"\x7fELF of another machine")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(PagedbgError, match=r"cannot be built: .*make: Exec format"):
        kmod_build.build("6.99-test", tmp_path)
