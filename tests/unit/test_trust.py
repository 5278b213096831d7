# SPDX-License-Identifier: GPL-2.0-or-later
"""
Promise 1, as far as it needs no guest (tests/vm/test_root.py is the rest): what is
read, started and written as root, in a directory of somebody else, with an environment
of somebody else.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from poison import STRANGER, Poison

import pagedbg
from pagedbg import trust
from pagedbg.capture.backends import kmod, kmod_build
from pagedbg.errors import PagedbgError
from pagedbg.output.pager import pager_command
from pagedbg.trust import Untrusted

SAMPLE = Path(pagedbg.__file__).parent / "data" / "sample.vmcore"
LAUNCHER = Path(sys.executable).with_name("pagedbg")

as_root = pytest.mark.skipif(
    os.geteuid() != 0,
    reason="only root has something to lose, and can make files of somebody else",
)


@pytest.fixture
def poison(tmp_path: Path) -> Poison:
    """A directory of somebody else, who hopes that root comes by."""
    # Others have to reach it.
    for place in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        place.chmod(0o755)
    return Poison(tmp_path / "stranger")


def given_away(path: Path) -> Path:
    os.chown(path, STRANGER, STRANGER, follow_symlinks=False)
    return path


# ---- files ----


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    (tmp_path / "directory").mkdir(mode=0o700)
    path = tmp_path / "directory" / "file"
    path.write_text("contents")
    path.chmod(0o600)
    return path


def test_a_file_of_ours_is_read(kept: Path) -> None:
    assert trust.read(kept) == b"contents"
    assert trust.is_trusted(kept)


def of_somebody_else(path: Path) -> Path:
    return given_away(path)


def in_a_directory_of_somebody_else(path: Path) -> Path:
    given_away(path.parent)
    return path


def that_others_may_write(path: Path) -> Path:
    path.chmod(0o666)
    return path


def that_a_group_may_write(path: Path) -> Path:
    path.chmod(0o620)
    return path


def in_a_directory_that_others_may_write(path: Path) -> Path:
    path.parent.chmod(0o777)
    return path


def behind_a_link_of_somebody_else(path: Path) -> Path:
    (link := path.parent.parent / "link").symlink_to(path)
    return given_away(link)


def behind_a_link_into_a_directory_of_somebody_else(path: Path) -> Path:
    (theirs := path.parent.parent / "theirs").mkdir()
    (theirs / "way").symlink_to(path.parent)
    given_away(theirs)
    (link := path.parent.parent / "link").symlink_to("theirs/way")
    return link / "file"


@as_root
@pytest.mark.parametrize(
    "hostile",
    [
        of_somebody_else,
        in_a_directory_of_somebody_else,
        that_others_may_write,
        that_a_group_may_write,
        in_a_directory_that_others_may_write,
        behind_a_link_of_somebody_else,
        behind_a_link_into_a_directory_of_somebody_else,
    ],
)
def test_a_file_that_somebody_else_may_have_put_there_is_not_read(
    kept: Path, hostile: Callable[[Path], Path]
) -> None:
    path = hostile(kept)
    assert path.read_text() == "contents"
    with pytest.raises(Untrusted):
        trust.read(path)
    assert not trust.is_trusted(path)


@as_root
def test_links_of_root_lead_where_they_lead(kept: Path) -> None:
    (kept.parent / "link").symlink_to("../directory/./file")
    (kept.parent.parent / "absolute").symlink_to(kept.parent)
    assert trust.read(kept.parent.parent / "absolute" / "link") == b"contents"
    (kept.parent / "round").symlink_to("round")
    with pytest.raises(OSError, match="Too many levels"):
        trust.read(kept.parent / "round")


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    tmp_path.chmod(0o700)
    for path in (tmp_path / "fifo", tmp_path):
        with pytest.raises(Untrusted, match="no regular file"):
            trust.read(path)


def test_what_is_not_there_is_no_question_of_trust(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as raised:
        trust.read(tmp_path / "nothing" / "file")
    assert raised.value.filename == str(tmp_path / "nothing" / "file")


# ---- what is written ----


def test_a_private_file_is_made_and_found_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "directory" / "history"
    for line in (b"one\n", b"two\n"):
        descriptor = trust.open_private(path)
        os.write(descriptor, line)
        os.close(descriptor)
    assert path.read_bytes() == b"one\ntwo\n"
    assert (
        stat.S_IMODE(path.stat().st_mode),
        stat.S_IMODE(path.parent.stat().st_mode),
    ) == (0o600, 0o700)


def test_a_file_of_ours_that_others_could_read_is_closed_to_them(kept: Path) -> None:
    kept.chmod(0o644)
    os.close(trust.open_private(kept))
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def a_link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def a_second_name(path: Path, victim: Path) -> None:
    path.hardlink_to(victim)


def a_fifo(path: Path, victim: Path) -> None:
    os.mkfifo(path)


def a_link_to_nothing(path: Path, victim: Path) -> None:
    path.symlink_to(path.with_name("made"))


@pytest.mark.parametrize("trap", [a_link, a_second_name, a_fifo, a_link_to_nothing])
def test_nothing_is_written_through_a_trap(
    kept: Path, trap: Callable[[Path, Path], None]
) -> None:
    kept.chmod(0o644)
    path = kept.with_name("history")
    trap(path, kept)
    before = sorted(kept.parent.iterdir())
    with pytest.raises(Untrusted):
        trust.open_private(path)
    assert (kept.read_text(), stat.S_IMODE(kept.stat().st_mode)) == ("contents", 0o644)
    assert sorted(kept.parent.iterdir()) == before


@as_root
def test_nothing_is_written_below_a_directory_of_somebody_else(tmp_path: Path) -> None:
    given_away(tmp_path)
    with pytest.raises(Untrusted, match=f"belongs to user {STRANGER}"):
        trust.open_private(tmp_path / "pagedbg" / "history")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_was_chosen_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert trust.cache_directory("bpf") == str(tmp_path / "pagedbg" / "bpf")
    assert trust.state_directory() == str(tmp_path / "pagedbg")
    assert stat.S_IMODE((tmp_path / "pagedbg").stat().st_mode) == 0o700


@pytest.mark.parametrize("chosen", ["", "relative"])
def test_others_than_root_keep_things_at_home(chosen: str) -> None:
    # Not below pytest's directory, which only root can enter.
    with tempfile.TemporaryDirectory() as home:
        code = f"""
from pagedbg import trust
import os
if os.geteuid() == 0:
    os.chown({home!r}, {STRANGER}, {STRANGER})
    os.setgroups([]); os.setgid({STRANGER}); os.setuid({STRANGER})
os.environ.update(HOME={home!r}, XDG_CACHE_HOME={chosen!r}, XDG_STATE_HOME={chosen!r})
print(trust.cache_directory("bpf"), trust.state_directory())
"""
        told = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        assert told.split() == [
            f"{home}/.cache/pagedbg/bpf",
            f"{home}/.local/state/pagedbg",
        ]


# ---- what is started ----


@as_root
def test_only_programs_in_directories_of_root_are_found(
    poison: Poison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (ours := tmp_path / "bin").mkdir()
    (ours / "theirs").write_text("#!/bin/sh\n")
    (ours / "theirs").chmod(0o755)
    given_away(ours / "theirs")
    monkeypatch.chdir(poison.directory)
    monkeypatch.setenv("PATH", f"{poison.programs}:.::{ours}:/usr/bin")
    assert trust.search_path() == f"{ours}:/usr/bin:/usr/sbin:/sbin"
    assert trust.program("make") == "/usr/bin/make"
    assert trust.program("theirs") is None
    assert trust.program("only-theirs") is None
    monkeypatch.setenv("PATH", str(poison.programs))
    assert trust.program("make") == "/usr/bin/make"


@as_root
def test_of_the_environment_only_words_are_handed_on(
    poison: Poison, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**poison.environment, "LC_ALL": "C", "TZ": "UTC"}.items():
        monkeypatch.setenv(name, value)
    handed_on = trust.environment()
    assert set(handed_on) & set(poison.environment) == {"PATH", "XDG_CACHE_HOME"}
    assert (handed_on["LC_ALL"], handed_on["TZ"]) == ("C", "UTC")
    assert str(poison.directory) not in handed_on["PATH"]


@as_root
def test_a_pager_is_taken_from_root_and_from_nobody_else(
    poison: Poison, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("PAGER", "more")
    monkeypatch.setenv("HOME", "/")
    assert (pager_command(), trust.chosen_environment()["HOME"]) == ("more", "/")
    monkeypatch.setenv("HOME", str(poison.home))
    assert (pager_command(), trust.chosen_environment().get("HOME")) == ("less", None)


@pytest.mark.parametrize("module", ["resolver", "recorder", "bpf_image"])
def test_our_own_processes_import_nothing_of_somebody_else(
    module: str, poison: Poison
) -> None:
    # Each reads what it is to do, and ends with its input; the compiler is told
    # nonsense when it has imported bcc.
    subprocess.run(
        trust.python(f"pagedbg.capture.{module}"),
        input='["-Dnonsense=("]',
        capture_output=True,
        text=True,
        check=False,
        cwd=poison.directory,
        env={**os.environ, **poison.environment},
    )
    assert poison.swallowed() == []


def test_our_own_processes_are_of_the_pagedbg_that_starts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "pagedbg"
    shutil.copytree(
        Path(pagedbg.__file__).parent,
        other,
        ignore=shutil.ignore_patterns("data", "__pycache__"),
    )
    (other / "__init__.py").write_text('__version__ = "of its own"\n')
    done = subprocess.run(
        [sys.executable, "-I", other / "start.py", "pagedbg", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "pagedbg of its own\n"


@pytest.mark.skipif(
    b" -I\n" not in LAUNCHER.read_bytes()[:4096],
    reason="pip's own program, not contrib/environment's",
)
def test_the_launcher_imports_nothing_of_somebody_else(poison: Poison) -> None:
    done = subprocess.run(
        [LAUNCHER, "-c", SAMPLE, "-e", "status"],
        capture_output=True,
        text=True,
        check=True,
        cwd=poison.directory,
        env={**os.environ, **poison.environment},
    )
    assert "page_owner: on since boot" in done.stdout
    # Who is not root may have drgn load what he likes.
    assert [
        each
        for each in poison.swallowed()
        if os.geteuid() == 0 or not each.endswith("json.py")
    ] == []


@as_root
def test_started_in_another_way_it_starts_again_before_it_imports_anything(
    poison: Poison,
) -> None:
    # With its own directory first on the path a `pagedbg` in it would be the program
    # that was asked for.
    shutil.rmtree(poison.directory / "pagedbg")
    environment = {**os.environ, **poison.environment}
    # Python runs what it finds there before any program: nobody could keep it from
    # that.
    del environment["PYTHONPATH"]
    shutil.rmtree(poison.home / ".local" / "lib")
    done = subprocess.run(
        [sys.executable, "-m", "pagedbg", "-c", SAMPLE, "-e", "status"],
        capture_output=True,
        text=True,
        check=True,
        cwd=poison.directory,
        env=environment,
    )
    assert "page_owner: on since boot" in done.stdout
    assert poison.swallowed() == []


DRGN = """
from drgn.commands import run_command
run_command(prog, "pagedbg status")
run_command(prog, "pagedbg owners --by comm --top 1")
"""


def test_in_the_prompt_of_drgn_nothing_is_imported_from_the_current_directory(
    poison: Poison,
) -> None:
    # What drgn itself imports, and which plugins, is drgn's: it puts the current
    # directory first on the path when it has opened the dump.
    environment = {
        **os.environ,
        **{
            name: poison.environment[name]
            for name in ("HOME", "PATH", "XDG_CACHE_HOME", "XDG_STATE_HOME")
        },
    }
    command = [Path(sys.executable).with_name("drgn"), "-c", SAMPLE, "-q", "-e", DRGN]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        cwd=poison.directory,
        env=environment,
    )
    assert "page_owner: on since boot" in done.stdout
    assert poison.swallowed() == []


def test_the_poison_works(poison: Poison) -> None:
    subprocess.run(
        [sys.executable, "-c", "import json"],
        check=False,
        cwd=poison.directory,
        capture_output=True,
    )
    subprocess.run(
        ["make"], check=False, cwd="/", env=poison.environment, capture_output=True
    )
    assert {Path(each).name for each in poison.swallowed()} >= {"json.py", "make"}


# ---- the module ----


@as_root
def test_a_module_is_not_built_with_programs_of_somebody_else(poison: Poison) -> None:
    with pytest.raises(
        PagedbgError,
        match=(
            rf"whose programs root would run \({poison.directory} belongs to user"
            rf" {STRANGER}\)"
        ),
    ):
        kmod_build.build("6.99-test", poison.directory)
    assert poison.swallowed() == []


@as_root
def test_a_module_of_somebody_else_is_not_loaded(kept: Path) -> None:
    given_away(kept)
    with pytest.raises(
        PagedbgError,
        match=rf"cannot be loaded from {kept}: {kept} belongs to user {STRANGER}",
    ):
        kmod._image(kept)


@pytest.mark.parametrize(
    ("suffix", "program"),
    [("", "cat"), (".xz", "xz"), (".gz", "gzip"), (".zst", "zstd")],
)
def test_a_module_is_unpacked_as_dkms_packs_it(
    kept: Path, suffix: str, program: str
) -> None:
    if trust.program(program) is None:
        pytest.skip(f"there is no {program} here")
    packed = kept.with_name(f"pagedbg.ko{suffix}")
    with open(kept, "rb") as plain, open(packed, "wb") as out:
        subprocess.run([program], stdin=plain, stdout=out, check=True)
    packed.chmod(0o600)
    assert kmod._image(packed) == b"contents"


def test_a_damaged_module_is_said_to_be(kept: Path) -> None:
    damaged = kept.rename(kept.with_name("pagedbg.ko.xz"))
    with pytest.raises(PagedbgError, match="is damaged"):
        kmod._image(damaged)
