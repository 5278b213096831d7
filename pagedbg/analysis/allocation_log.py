# SPDX-License-Identifier: GPL-2.0-or-later
"""
What a kernel has logged of allocations that failed, took too long, or that somebody
was killed for, taken apart: ``warn_alloc()`` and ``check_alloc_stall_warn()`` of
``mm/page_alloc.c``, ``dump_header()`` and ``__oom_kill_process()`` of
``mm/oom_kill.c``.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from pagedbg.analysis.mem_info import MEM_INFO, MemInfo, MemInfoReader

__all__ = ("FAILURE", "OOM_KILL", "STALL", "LogLine", "Report", "Reports", "reports")

FAILURE, OOM_KILL, STALL = "allocation failure", "OOM kill", "allocation stall"

# As long as a stack that the kernel prints can be, and a line of it.
_MOST_FRAMES, _MOST_LINE = 128, 1024

# %#x(%pGg), then %*pbl; the lines of cpusets come behind.
_MODE = r"(0x[0-9a-f]{1,16})\(([^()]{0,512})\)"
_NODES = r"nodemask=(\(null\)|[\d,-]{0,64})"
_WARNED = re.compile(
    rf"(.{{0,64}}?): (.{{1,200}}), mode:{_MODE}(?:,? {_NODES})?(?:,.*)?"
)
_ORDER = re.compile(r"\border[: ](\d{1,3})\b")
# Linux 7.1 has it in seconds, Linux 4.14 had it in milliseconds.
_STALLED = re.compile(r"page allocation stalls? for (\d{1,12}) ?(secs|ms)\b")
_INVOKED = re.compile(
    rf"(.{{0,64}}?) invoked oom-killer: gfp_mask={_MODE},(?: {_NODES},)?"
    r" order=(-?\d{1,3}), oom_score_adj=-?\d+"
)
_TASK = re.compile(r"CPU: (\d{1,5}) (?:UID: \d+ )?PID: (\d{1,10}) Comm: .*")
_FRAME = re.compile(r"[\w.$]{1,256}\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[[^\]]{1,64}\])?")
_CONSTRAINT = re.compile(r"oom-kill:constraint=(\w{1,64}),.*")
_MEMCG = re.compile(r",oom_memcg=(.*?),task_memcg=")
_KILLED = re.compile(
    r".{1,256}?: Killed process (\d{1,10}) \((.{0,64})\) total-vm:\d{1,20}kB,"
    r" anon-rss:(\d{1,20})kB, file-rss:(\d{1,20})kB, shmem-rss:(\d{1,20})kB.*"
)
# The second is arm64's: dump_backtrace() of arch/arm64/kernel/stacktrace.c.
_TRACES = ("Call Trace:", "Call trace:")
_SHOW_MEMORY = "sysrq: Show Memory"


class LogLine(NamedTuple):
    """
    A message of the kernel: when, who logged it, its text, and whether that goes on
    where the last message of the same caller ended. None for a text that is lost.
    """

    ts_ns: int
    caller: int
    text: str | None
    continues: bool = False


@dataclasses.dataclass
class Report:
    """
    What was logged of one allocation.

    ``kind`` is :data:`FAILURE`, :data:`OOM_KILL` or :data:`STALL`. ``order`` is None
    where the kernel does not say it, as of vmalloc(), or −1 for an OOM kill that was
    asked for. ``stack`` is the call path without the frames that the kernel doubts.
    ``stalled_ms`` is of a stall; ``constraint``, ``memcg`` (the group that was out of
    memory) and who was killed are of an OOM kill. ``mem_info`` is None where there is
    none, as of a memory cgroup. ``lost`` is how many messages in the midst of it could
    not be read.
    """

    kind: str
    ts_ns: int
    comm: str
    order: int | None
    gfp_mask: int
    gfp: str
    nodemask: str | None = None
    cpu: int | None = None
    pid: int | None = None
    stack: list[str] = dataclasses.field(default_factory=list)
    stalled_ms: int | None = None
    constraint: str | None = None
    memcg: str | None = None
    victim_pid: int | None = None
    victim: str | None = None
    victim_kib: int | None = None
    mem_info: MemInfo | None = None
    lost: int = 0

    @property
    def complete(self) -> bool:
        """Whether nothing of the report is missing, as far as that can be told."""
        if self.lost:
            return False
        if self.mem_info is not None:
            return self.mem_info.complete and not self.mem_info.unread
        return self.constraint == "CONSTRAINT_MEMCG"

    def allows(self, node: int) -> bool:
        """Whether the allocation could come from a node, by its nodemask."""
        if not self.nodemask:
            return True
        spans = [part.partition("-") for part in self.nodemask.split(",")]
        return any(
            first.isdecimal() and int(first) <= node <= int(last or first)
            for first, _, last in spans
            if not last or last.isdecimal()
        )


@dataclasses.dataclass
class Reports:
    """
    All reports of a log, the oldest first. ``beheaded`` is how many there are besides
    whose beginning is not in the log.
    """

    found: list[Report]
    beheaded: int = 0


def reports(
    lines: Iterable[LogLine], zone_names: Sequence[str], page_size: int
) -> Reports:
    """
    Find the reports in a log. Those of tasks that log at the same time are told apart
    by their callers.

    :param lines: the oldest first
    :param zone_names: by ``enum zone_type``, as the kernel has them
    :param page_size: in bytes
    """
    callers: dict[int, _Reader] = {}
    result = Reports([])
    for line in _joined(lines):
        reader = callers.setdefault(line.caller, _Reader(zone_names, page_size))
        if line.text is None:
            reader.lose()
            continue
        for text in line.text.split("\n"):
            text = text[:_MOST_LINE].strip()
            report = _begun(text, line.ts_ns)
            if report is not None:
                reader.begin(report)
                result.found.append(report)
            elif not reader.read(text):
                result.beheaded += 1
    for reader in callers.values():
        reader.end()
    result.found.sort(key=lambda report: report.ts_ns)
    return result


def _joined(lines: Iterable[LogLine]) -> Iterator[LogLine]:
    """
    Iterate over messages, each with the parts of it before which others have logged
    something.
    """
    begun: dict[int, LogLine] = {}
    for line in lines:
        before = begun.get(line.caller)
        if before is not None:
            if line.continues and before.text is not None and line.text is not None:
                text = (before.text + line.text)[: _MOST_LINE * _MOST_FRAMES]
                begun[line.caller] = before._replace(text=text)
                continue
            yield before
        begun[line.caller] = line
    yield from begun.values()


def _begun(text: str, ts_ns: int) -> Report | None:
    """The report that a line is the first one of."""
    if (match := _INVOKED.fullmatch(text)) is not None:
        comm, mask, gfp, nodes, order = match.groups()
        return Report(
            OOM_KILL, ts_ns, comm, int(order), int(mask, 16), gfp, _nodes(nodes)
        )
    # Looked for first, since most lines are none.
    if ", mode:0x" not in text or (match := _WARNED.fullmatch(text)) is None:
        return None
    comm, what, mask, gfp, nodes = match.groups()
    order_of, stalled = _ORDER.search(f"{what}"), _STALLED.search(what)
    report = Report(
        STALL if stalled else FAILURE,
        ts_ns,
        comm,
        int(order_of[1]) if order_of else None,
        int(mask, 16),
        gfp,
        _nodes(nodes),
    )
    if stalled:
        report.stalled_ms = int(stalled[1]) * (1000 if stalled[2] == "secs" else 1)
    return report


def _nodes(text: str | None) -> str | None:
    return None if text == "(null)" else text


class _Reader:
    """Reads what one caller logs."""

    def __init__(self, zone_names: Sequence[str], page_size: int) -> None:
        self._made = zone_names, page_size
        self._report: Report | None = None
        self._mem_info: MemInfoReader | None = None
        self._tracing = self._asked = False

    def begin(self, report: Report) -> None:
        """A report begins."""
        self.end()
        self._report = report

    def end(self) -> None:
        """What was read is all that there is of the report."""
        self._end_mem_info()
        self._report, self._tracing = None, False

    def lose(self) -> None:
        """A message is lost."""
        if self._report is not None and (
            self._mem_info is not None or self._report.mem_info is None
        ):
            self._report.lost += 1

    def read(self, text: str) -> bool:
        """
        Read the next line.

        :return: False for one that begins what is in the midst of a report where no
            report has begun
        """
        report, asked = self._report, self._asked
        self._asked = _SHOW_MEMORY in text
        if text == MEM_INFO:
            self._tracing = False
            if report is None or report.mem_info or self._mem_info:
                # Somebody wants to see it, or it is that of another report.
                self.end()
                return asked
            self._mem_info = MemInfoReader(*self._made)
        elif report is None:
            pass
        elif self._mem_info is not None:
            self._mem_info.read(text)
            if self._mem_info.complete:
                self._end_mem_info()
        elif report.kind == OOM_KILL and self._killed(report, text):
            pass
        elif report.mem_info is None:
            self._trace(report, text)
        return True

    def _end_mem_info(self) -> None:
        if self._report is not None and self._mem_info is not None:
            self._report.mem_info = self._mem_info.found()
        self._mem_info = None

    def _trace(self, report: Report, text: str) -> None:
        if report.pid is None and (match := _TASK.fullmatch(text)):
            report.cpu, report.pid = int(match[1]), int(match[2])
        elif text in _TRACES:
            self._tracing = not report.stack
        elif text == "</TASK>":
            self._tracing = False
        elif (
            self._tracing
            and len(report.stack) < _MOST_FRAMES
            and _FRAME.fullmatch(text)
        ):
            report.stack.append(text)

    def _killed(self, report: Report, text: str) -> bool:
        """Read what is said of whom the kernel has killed."""
        if match := _CONSTRAINT.fullmatch(text):
            report.constraint = match[1]
            memcg = _MEMCG.search(text)
            report.memcg = memcg[1] if memcg else None
        elif report.victim_pid is None and (match := _KILLED.fullmatch(text)):
            report.victim_pid, report.victim = int(match[1]), match[2]
            report.victim_kib = sum(map(int, match.groups()[2:]))
        else:
            return False
        return True
