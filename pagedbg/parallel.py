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
import select
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, TypeVar

from pagedbg.errors import PagedbgError

__all__ = ("Meanwhile", "in_processes")

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


class Meanwhile:
    """
    Work that another process does while this one goes on. Ctrl-C does not end it.

    :param work: changes nothing that is looked at later
    """

    def __init__(self, work: Callable[[], Any]) -> None:
        _reap()
        with _unsignalled():
            self._worker = _Worker(lambda _: work(), (None,), (), signal.SIG_IGN)

    @property
    def done(self) -> bool:
        """Whether the result is there."""
        return self._worker.answers

    def result(self) -> Any:
        """
        Wait for the result.

        :return: None if the work has failed
        :raises PagedbgError: if somebody has killed the process
        """
        try:
            return self._worker.take()[1]
        finally:
            self._worker.end()

    def end(self) -> None:
        """
        End it, whatever it does, and do not wait for that: it may hang in the kernel.
        """
        if pid := self._worker.kill():
            _ENDED.add(pid)
        _reap()


# Processes that may not have ended yet.
_ENDED: set[int] = set()


def _reap() -> None:
    for pid in [*_ENDED]:
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG) == (0, 0):
                continue
        _ENDED.discard(pid)


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
        on_ctrl_c: signal.Handlers = signal.SIG_DFL,
    ) -> None:
        reading, writing = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            try:
                os.close(reading)
                for other in others:
                    other._results.close()
                _labour(work, tasks, writing, on_ctrl_c)
            finally:
                # Nothing of what the first process has open is ended here.
                os._exit(0)
        os.close(writing)
        self._results = open(reading, "rb")  # noqa: SIM115 - end() closes it

    @property
    def answers(self) -> bool:
        """Whether there is a result to take, or the process is gone."""
        poll = select.poll()
        poll.register(self._results, select.POLLIN)
        return bool(poll.poll(0))

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

    def kill(self) -> int:
        """Kill the process; return its number, 0 if it has ended."""
        self._results.close()
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        return self._pid

    def end(self) -> None:
        """End the process, whatever it does."""
        if self.kill():
            os.waitpid(self._pid, 0)
            self._pid = 0


def _labour(
    work: Callable[[Any], Any],
    tasks: Sequence[Any],
    writing: int,
    on_ctrl_c: signal.Handlers,
) -> None:
    """What the process does; what ends it does so without a word."""
    for number in _ENDING:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, on_ctrl_c)
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
