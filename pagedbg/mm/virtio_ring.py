# SPDX-License-Identifier: GPL-2.0-or-later
"""
Virtio rings
------------

Helpers for ``include/linux/virtio_ring.h``: the memory that a guest shares with the
hypervisor's devices. That of packed rings is not told.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from drgn import Object, Program, container_of
from drgn.helpers.linux.list import list_for_each_entry
from numpy.typing import NDArray

from pagedbg.mm._direct_map import direct_pfns, together
from pagedbg.mm.bulk_read import c_string
from pagedbg.target.description import module_struct
from pagedbg.target.links import bounded

__all__ = ("for_each_virtio_rings",)


def for_each_virtio_rings(prog: Program) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Iterate over the virtio devices: the name of each, and the pages of its rings."""
    bus = _virtio_bus(prog)
    if bus is None:
        return
    device = module_struct(prog, "virtio_device")
    ring = module_struct(prog, "vring_virtqueue")
    for private in bounded(
        list_for_each_entry(
            "struct device_private",
            bus.klist_devices.k_list.address_of_(),
            "knode_bus.n_node",
        )
    ):
        virtio = container_of(private.device.read_(), device, "dev")
        rings = bounded(list_for_each_entry(ring, virtio.vqs.address_of_(), "vq.list"))
        name = c_string(virtio.dev.kobj.name).decode("utf-8", "backslashreplace")
        yield name, together([_pages(each) for each in rings if not _packed(each)])


def _virtio_bus(prog: Program) -> Object | None:
    """The ``struct subsys_private *`` of the bus."""
    for bus in bounded(
        list_for_each_entry(
            "struct subsys_private",
            prog["bus_kset"].list.address_of_(),
            "subsys.kobj.entry",
        )
    ):
        if c_string(bus.bus.name) == b"virtio":
            return bus
    return None


def _packed(ring: Object) -> bool:
    if ring.type_.type.has_member("packed_ring"):
        return bool(ring.packed_ring)
    # Of packed and of split ones there are several layouts each (7.x).
    layouts = {each.value: each.name for each in ring.layout.type_.enumerators or ()}
    return "PACKED" in layouts.get(ring.layout.value_(), "PACKED")


def _pages(ring: Object) -> NDArray[np.int64]:
    split = ring.split
    if not ring.we_own_ring:
        return np.zeros(0, np.int64)
    size = split.queue_size_in_bytes.value_()
    return direct_pfns(ring.prog_, split.vring.desc.value_(), size)
