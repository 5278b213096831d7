# SPDX-License-Identifier: GPL-2.0-or-later
"""
A damaged or hostile file ends in an answer or in one sentence: exit status 0, 1 or 2,
within 30 s of CPU and 2 GB, with no traceback or warning.

``contrib/fuzz/fuzz`` damages files for as long as one likes; some hundred of its cases
are run here, always the same.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import forkserver
import pytest
from known import SAMPLE

FUZZ = Path(__file__).parents[2] / "contrib" / "fuzz"
sys.path.insert(0, str(FUZZ))

import run  # noqa: E402

GROUPS = {
    "headers": ("elf", "kdump", "vmcoreinfo", "bare"),
    "symbols and types": ("kallsyms", "btf", "globals"),
    "owners": ("page_ext", "depot", "memory"),
    "pages": ("memmap", "zones", "page_tables", "holders"),
    "processes": ("tasks", "rmap", "log"),
    "recorders": ("rings", "modules"),
    "captures": ("capture",),
}
# A capture has several files, each damaged in ways of its own, and takes little time.
CASES_OF_A_KIND, CASES_OF_CAPTURES = 12, 60


def fuzz(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the fuzzer."""
    return subprocess.run(
        [forkserver.python(), FUZZ / "fuzz", "--jobs", "1", *arguments],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


@pytest.mark.long
@pytest.mark.once
@pytest.mark.parametrize("kinds", GROUPS.values(), ids=GROUPS)
def test_a_damaged_or_hostile_file_ends_in_an_answer_or_in_one_sentence(
    kinds: tuple[str, ...],
) -> None:
    cases = CASES_OF_CAPTURES if "capture" in kinds else CASES_OF_A_KIND
    done = fuzz(
        "--count", str(cases), *(word for kind in kinds for word in ("--kind", kind))
    )
    assert done.returncode == 0, done.stdout + done.stderr
    together = done.stdout.split("together")[1].split()
    assert int(together[0]) == cases * len(kinds), done.stdout


@pytest.mark.long
def test_a_seed_makes_the_same_case_again(tmp_path: Path) -> None:
    reports = [tmp_path / name for name in ("first", "again")]
    for report in reports:
        assert (
            fuzz(
                "--kind",
                "btf",
                "--kind",
                "kdump",
                "--seed",
                "5",
                "--count",
                "2",
                "--report",
                str(report),
            ).returncode
            == 0
        )
    # All but how long it took, and what the temporary directory is called.
    first, again = (
        sorted(
            re.sub(r"pagedbg-fuzz-\w+", "", line.split('"seconds"')[0])
            for line in report.read_text().splitlines()
        )
        for report in reports
    )
    assert first == again
    assert len(first) == 4


# ---- what counts as a failure ----------


@pytest.mark.parametrize(
    "command, failure",
    [
        ("!kill -SEGV $PPID", "died of SIGSEGV"),
        ("!kill -XCPU $PPID", "more than 30 s of CPU"),
        ("!exit 3", "status 3"),
        ("!echo Traceback >&2", "? in ? ?()"),
        (
            "!echo 'RuntimeWarning: overflow encountered' >&2",
            "RuntimeWarning: overflow encountered",
        ),
        ("!echo pagedbg: out of memory >&2; exit 1", "out of memory"),
        ("!exit 1", "0 lines and not one sentence"),
    ],
)
def test_the_fuzzer_sees_a_failure(command: str, failure: str) -> None:
    outcome = run.run(SAMPLE, None, ("status", command))
    assert (outcome.failure, outcome.command) == (failure, command), outcome


def test_who_waits_for_what_does_not_come_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run, "_PATIENCE", 1)
    outcome = run.run(SAMPLE, None, ("!sleep 1000",))
    assert (outcome.failure, outcome.command) == ("it hangs", "!sleep 1000"), outcome


def test_who_works_gets_on() -> None:
    before, begun = run._ticks(os.getpid()), time.process_time()
    while time.process_time() - begun < 0.1:
        pass
    gone = run._ticks(os.getpid()) - before
    assert gone >= 0.08 * os.sysconf("SC_CLK_TCK")


def test_a_bug_is_named_by_where_it_is() -> None:
    said = (
        'Traceback (most recent call last):\n  File "/x/pagedbg/mm/mmzone.py", line 5,'
        " in zone_names\n    boo\nKeyError: 5\n"
    )
    assert (
        run._complaint(1, f"{said}this is a bug in pagedbg")
        == "KeyError: 5 in pagedbg/mm/mmzone.py zone_names()"
    )


def test_answers_and_sentences_are_no_failures() -> None:
    outcome = run.run(
        SAMPLE, None, ("status", "inspect pfn 0xfffffffffff", "inspect nonsense")
    )
    assert (outcome.failure, dict(outcome.statuses)) == (
        "",
        {0: 2, 1: 1, 2: 1},
    ), outcome
