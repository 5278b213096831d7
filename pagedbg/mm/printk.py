# SPDX-License-Identifier: GPL-2.0-or-later
"""
Kernel log
----------

Helpers for ``kernel/printk/printk_ringbuffer.h``: the messages, one by one.

drgn's ``get_printk_records()`` gives all of them or, where one page cannot be read,
none.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

from drgn import FaultError, Object, Program, ProgramFlags, sizeof
from drgn.helpers.common.prog import takes_program_or_default

__all__ = ("LEVELS", "PrintkRecord", "printk_records")

LEVELS = ("emerg", "alert", "crit", "err", "warn", "notice", "info", "debug")
"""
The names of a message's level (``include/linux/kern_levels.h``), as dmesg and
journalctl have them.
"""

# kernel/printk/printk.c: LOG_BUF_LEN_MAX, and PRB_AVGBITS: there is a descriptor to
# each 32 bytes.
_MOST_TEXT_BITS, _MOST_DESC_BITS = 31, 26
_FAILED_LPOS = 1

# kernel/printk/internal.h: enum printk_info_flags
_LOG_CONT = 8


class PrintkRecord(NamedTuple):
    """
    A message: when it was logged, ``LEVELS[level]``, and its text; None where that
    cannot be read.

    ``seq`` counts messages from the first one of this boot. ``facility`` is 0 for those
    of the kernel; of others programs are the authors. ``caller_id`` tells apart tasks
    and CPUs that log at the same time, and ``continues`` says that the text goes on
    where the last one of this caller ends.
    """

    ts_nsec: int
    level: int
    text: bytes | None
    seq: int = 0
    facility: int = 0
    caller_id: int = 0
    continues: bool = False


@takes_program_or_default
def printk_records(prog: Program) -> Iterator[PrintkRecord | None]:
    """
    Iterate over the kernel's log, newest message first, since Linux kernel commit
    896fbe20b4e2 ("printk: use the lockless ringbuffer") (in v5.10).

    :return: None for a message that cannot be read at all, or of which a dump does not
        hold what it was
    :raises ValueError: if the ring's numbers contradict each other
    """
    return _Log(prog).newest_first()


class _Log:
    def __init__(self, prog: Program) -> None:
        self._prog = prog
        ring, text = prog["prb"].desc_ring, prog["prb"].text_data_ring
        self._live = bool(prog.flags & ProgramFlags.IS_LIVE)
        self._count = 1 << _bits(ring.count_bits, _MOST_DESC_BITS)
        self._descs, self._infos = ring.descs.read_(), ring.infos.read_()
        self._text: int = text.data.value_()
        self._text_bits = _bits(text.size_bits, _MOST_TEXT_BITS)
        self._word: int = sizeof(prog.type("unsigned long"))
        # An id is counted in all bits of a word but two; those are the state of the
        # descriptor, in the same word.
        self._state_shift = 8 * self._word - 2
        self._id_mask = (1 << self._state_shift) - 1
        self._head, self._tail = (
            each.counter.value_() & self._id_mask
            for each in (ring.head_id, ring.tail_id)
        )
        self._readable = {
            prog[name].value_() for name in ("desc_committed", "desc_finalized")
        }
        if (self._head - self._tail) & self._id_mask >= self._count:
            raise ValueError("the newest message comes before the oldest")

    def newest_first(self) -> Iterator[PrintkRecord | None]:
        number = self._head
        while True:
            at = number & self._count - 1
            try:
                desc = self._copy(self._descs, at)
                if self._is_readable(desc, number):
                    record = self._record(desc, at)
                    # A running kernel may have reused it meanwhile.
                    if record and (
                        not self._live
                        or self._is_readable(self._copy(self._descs, at), number)
                    ):
                        yield record
                elif not self._live and self._state(desc)[0] != number:
                    # From the oldest to the newest each is of its number: this one was
                    # zeroed, or is damaged.
                    yield None
            except FaultError:
                yield None
            if number == self._tail:
                return
            number = (number - 1) & self._id_mask

    def _copy(self, array: Object, index: int) -> Object:
        return array[index].read_()

    def _state(self, desc: Object) -> tuple[int, int]:
        """Return its number and ``enum desc_state``."""
        word = desc.state_var.counter.value_()
        return word & self._id_mask, word >> self._state_shift & 3

    def _is_readable(self, desc: Object, number: int) -> bool:
        identity, state = self._state(desc)
        return identity == number and state in self._readable

    def _record(self, desc: Object, at: int) -> PrintkRecord | None:
        info = self._copy(self._infos, at)
        length = info.text_len.value_()
        record = PrintkRecord(
            info.ts_nsec.value_(),
            info.level.value_(),
            None,
            info.seq.value_(),
            info.facility.value_(),
            info.caller_id.value_(),
            bool(info.flags.value_() & _LOG_CONT),
        )
        begin, end = desc.text_blk_lpos.begin.value_(), desc.text_blk_lpos.next.value_()
        if begin & end & 1:
            # There is no block: the text is empty or, if there was no room for it,
            # lost.
            return record._replace(text=b"") if begin != _FAILED_LPOS else None
        address = self._text_address(begin, end, length)
        if address is not None:
            with contextlib.suppress(FaultError, OverflowError):
                return record._replace(text=self._prog.read(address, length))
        return record

    def _text_address(self, begin: int, end: int, length: int) -> int | None:
        """
        Return where a text of a block is; None if there can be none, as get_data() and
        copy_data() have it.
        """
        # Positions are counted up for ever, modulo a word. A block that would go over
        # the end of the ring is at its beginning, with a second id of its descriptor.
        # One that ends with the ring does not go over it, since there is
        # is_blk_wrapped() (7.3 has it, 6.12 has not).
        last = (end - 1) % (1 << 8 * self._word)
        if (
            begin % self._word
            or end % self._word
            or (last - begin) % (1 << 8 * self._word) >= 1 << self._text_bits
        ):
            return None
        if begin >> self._text_bits != last >> self._text_bits:
            begin = last >> self._text_bits << self._text_bits
        if begin + self._word + length > last + 1:
            return None
        # The id of its descriptor comes before a text.
        return self._text + begin % (1 << self._text_bits) + self._word


def _bits(number: Object, most: int) -> int:
    bits: int = number.value_()
    if not 0 < bits <= most:
        raise ValueError(f"a ring of 2**{bits} entries")
    return bits
