# SPDX-License-Identifier: GPL-2.0-or-later
"""What is said of allocations that were logged, from the logs of three kernels."""

from __future__ import annotations

import pytest
from test_allocation_log import KERNELS, LOGS, found

from pagedbg.analysis.allocation_attempt import Machine, Outcome, Request, attempt
from pagedbg.analysis.allocation_log import Report
from pagedbg.analysis.explanation import Findings
from pagedbg.analysis.explanation_verdict import verdict_of_report
from pagedbg.schema.explanation_columns import EXPLANATION

COLUMNS = [column.name for column in EXPLANATION]


def outcome_of(report: Report) -> Outcome | None:
    if report.mem_info is None:
        return None
    flags = frozenset({"__GFP_DIRECT_RECLAIM", "__GFP_KSWAPD_RECLAIM"})
    request = Request(
        max(report.order or 0, 0), 0xCC0, "GFP_KERNEL", flags, "Unmovable", 2
    )
    return attempt(request, report.mem_info.zones[::-1], Machine(9, 2))


def said(report: Report) -> str:
    return str(verdict_of_report(report, outcome_of(report), 4096)[-1])


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_failure_is_for_want_of_a_large_piece(kernel: str) -> None:
    report = found(LOGS[kernel])[0]
    outcome = outcome_of(report)
    assert outcome is not None and not outcome.at_once
    sentence = said(report)
    assert sentence.startswith("An order-9 allocation by sh failed in DMA32: ")
    assert sentence.endswith(" MiB were free, none in pieces of 512 pages.")


@pytest.mark.parametrize("kernel", KERNELS)
def test_whom_the_kernel_killed_is_said_and_for_what(kernel: str) -> None:
    *_, of_memcg, asked = found(LOGS[kernel])
    sentence = said(of_memcg)
    assert sentence.startswith(
        "The memory cgroup /small was at its limit, whatever was free elsewhere."
        f" The kernel killed python3 ({of_memcg.victim_pid}), which had "
    )
    assert sentence.endswith(" MiB mapped.")
    assert said(asked).startswith(
        "Somebody asked for the OOM killer, and no allocation had failed. The kernel"
        f" killed sleep ({asked.victim_pid})"
    )


def test_a_report_without_zones_says_that(kernel: str = "6.12") -> None:
    report = found(LOGS[kernel])[0]
    report.mem_info = None
    assert said(report) == (
        "The report does not say what was free: it has no zones, or they are lost."
    )


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_row_has_a_sentence_in_the_past(kernel: str) -> None:
    outcome = outcome_of(found(LOGS[kernel])[0])
    assert outcome is not None
    findings = Findings(outcome, 4096, past=True)
    for row in (findings.request(), *findings.zones()):
        named = dict(zip(COLUMNS, row, strict=True))
        assert named["finding"].endswith(".")
        assert " are free" not in named["finding"]
        assert named["topic"] in ("request", "zone")
