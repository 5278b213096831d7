# SPDX-License-Identifier: GPL-2.0-or-later
"""
Work shared among processes, which have a CPU each where Python's threads have one.

They are forked: each has the kernel open as it is, with all that is known of it, and
reads it by itself.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, TypeVar

from pagedbg.errors import PagedbgError

__all__ = ("in_processes",)

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")

# Others on the machine come first: it may be in trouble.
_NICE = 5

# What may end the first process.
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def in_processes(
    work: Callable[[_Task], _Result], tasks: Sequence[_Task], jobs: int
) -> Iterator[_Result]:
    """
    Do the same work on several tasks, some of them at once.

    The first is done here, so that what is found out but once is known to all; all of
    them are if there are other threads, which a fork would leave behind.

    :param work: takes a task, and changes nothing that is looked at later
    :param jobs: how many processes work beside this one, at most; 1 for none
    :return: the results, in the order of the tasks
    :raises PagedbgError: if somebody kills one of the processes
    """
    if jobs < 2 or len(tasks) < 3 or threading.active_count() > 1:
        yield from map(work, tasks)
        return
    yield work(tasks[0])
    rest = tasks[1:]
    jobs = min(jobs, len(rest))
    with contextlib.ExitStack() as stack:
        workers: list[_Worker] = []
        for first in range(jobs):
            # Or Ctrl-C would leave one behind that nobody knows of yet.
            with _unsignalled():
                worker = _Worker(work, rest[first::jobs], workers)
                stack.callback(worker.end)
            workers.append(worker)
        for number, task in enumerate(rest):
            done, result = workers[number % jobs].take()
            # What went wrong there is heard here.
            yield result if done else work(task)


@contextlib.contextmanager
def _unsignalled() -> Iterator[None]:
    """Have what would end the process wait."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Worker:
    """A process that does some tasks, one after the other."""

    _results: BinaryIO

    def __init__(
        self,
        work: Callable[[Any], Any],
        tasks: Sequence[Any],
        others: Sequence[_Worker],
    ) -> None:
        reading, writing = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            try:
                os.close(reading)
                for other in others:
                    other._results.close()
                _labour(work, tasks, writing)
            finally:
                # Nothing of what the first process has open is ended here.
                os._exit(0)
        os.close(writing)
        self._results = open(reading, "rb")  # noqa: SIM115 - end() closes it

    def take(self) -> tuple[bool, Any]:
        """
        Return whether the next task was done, and its result.

        :raises PagedbgError: if the process is gone
        """
        try:
            found: tuple[bool, Any] = pickle.load(self._results)
        except (EOFError, pickle.UnpicklingError):
            _, status = os.waitpid(self._pid, 0)
            self._pid = 0
            why = (
                f"killed by signal {os.WTERMSIG(status)}"
                if os.WIFSIGNALED(status)
                else "ended"
            )
            raise PagedbgError(
                f"one of the processes that read memory was {why}. --jobs 1 reads in"
                " one process."
            ) from None
        return found

    def end(self) -> None:
        """End the process, whatever it does."""
        self._results.close()
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0


def _labour(work: Callable[[Any], Any], tasks: Sequence[Any], writing: int) -> None:
    """What the process does; Ctrl-C ends it without a word."""
    for number in _ENDING:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
    os.nice(_NICE)
    with contextlib.suppress(BrokenPipeError), open(writing, "wb") as results:
        for task in tasks:
            # Without the first process's bar.
            try:
                answer = True, contextvars.Context().run(work, task)
            except Exception:
                answer = False, None
            pickle.dump(answer, results, pickle.HIGHEST_PROTOCOL)
            results.flush()
