# SPDX-License-Identifier: GPL-2.0-or-later
"""What the prompt and a recorder talk through."""

from __future__ import annotations

import socket

from pagedbg.capture.recording.channel import Channel


def test_objects_arrive_one_by_one_also_after_the_other_end_is_gone() -> None:
    ours, theirs = map(Channel, socket.socketpair())
    ours.send({"do": "flush"})
    ours.send({"do": "stop"})
    ours.close()
    assert theirs.next(None) == {"do": "flush"}
    assert theirs.next(1) == {"do": "stop"}
    assert not theirs.closed
    assert theirs.next(None) is None
    assert theirs.closed


def test_nobody_is_waited_for_longer_than_asked() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b'{"half": ')
        channel = Channel(theirs)
        assert channel.next(0.01) is None
        assert not channel.closed
        ours.sendall(b"1}\n")
        assert channel.next(1) == {"half": 1}


def test_what_nobody_receives_closes_the_channel() -> None:
    ours, theirs = map(Channel, socket.socketpair())
    theirs.close()
    ours.send({"do": "stop"})
    assert ours.closed
    assert ours.next(None) is None
    ours.close()
