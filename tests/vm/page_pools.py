# SPDX-License-Identifier: GPL-2.0-or-later
"""
Runs in a guest: prints a line for each page pool that the kernel says is there, with
its number and how many pages it has: "pool-3 64".

It asks as ``Documentation/netlink/specs/netdev.yaml`` has it (since v6.8).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

GENERIC = 16  # NETLINK_GENERIC
CONTROL, GET_FAMILY, FAMILY_ID, FAMILY_NAME = 16, 3, 1, 2
PAGE_POOL_GET, POOL_ID, POOL_INFLIGHT = 5, 1, 4
ERROR, DONE = 2, 3
REQUEST, DUMP = 0x1, 0x300


def attributes(data: bytes) -> dict[int, bytes]:
    """Those of a message, by their types."""
    found = {}
    while data:
        size, kind = struct.unpack_from("=HH", data)
        found[kind & 0x3FFF] = data[4:size]
        data = data[(size + 3) & ~3 :]
    return found


def ask(
    link: socket.socket, family: int, command: int, flags: int, about: bytes = b""
) -> Iterator[dict[int, bytes]]:
    """The attributes of each answer to a command."""
    body = struct.pack("=BBH", command, 1, 0) + about
    head = struct.pack("=IHHII", 16 + len(body), family, REQUEST | flags, 1, 0)
    link.send(head + body)
    while True:
        data = link.recv(1 << 16)
        while data:
            size, kind = struct.unpack_from("=IH", data)
            if kind == DONE:
                return
            if kind == ERROR:
                raise OSError(-struct.unpack_from("=i", data, 16)[0], "netlink")
            yield attributes(data[20:size])
            if not flags & DUMP:
                return
            data = data[(size + 3) & ~3 :]


def main() -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, GENERIC) as link:
        name = b"netdev\0"
        about = struct.pack("=HH8s", 4 + len(name), FAMILY_NAME, name)
        (family,) = ask(link, CONTROL, GET_FAMILY, 0, about)
        (number,) = struct.unpack("=H", family[FAMILY_ID])
        for pool in ask(link, number, PAGE_POOL_GET, DUMP):
            # A number is as long as it has to be.
            at = int.from_bytes(pool[POOL_ID], "little")
            print(f"pool-{at}", int.from_bytes(pool[POOL_INFLIGHT], "little"))


main()
