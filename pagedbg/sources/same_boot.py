# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a capture is of the machine, and of the boot of it, that a dump is of."""

from __future__ import annotations

from pagedbg.capture.directory import Capture
from pagedbg.errors import PagedbgError
from pagedbg.mm.page_owner import page_owner_inited
from pagedbg.mm.page_owner_bulk import page_owners_of_pfns
from pagedbg.schema.event_record import SET
from pagedbg.session import Session
from pagedbg.sources.kernel_names import KernelNames

# As many allocations of a capture are looked up in a dump that does not tell which boot
# it is of.
_SAMPLE = 4096

# What local_clock() of a dump may be behind: a run queue's clock stands still while its
# CPU is idle.
_SLACK_NS = 10**9


def same_boot(session: Session, capture: Capture) -> bool:
    """
    Return whether the kernel that is open is known to be the one that a capture is of,
    in this boot of it.
    """
    if capture is session.recovered:
        return True
    return (
        session.target.has_kernel
        and session.target.boot_id == capture.meta.kernel.boot_id != ""
    )


def check_same_boot(session: Session, capture: Capture) -> None:
    """
    Refuse the dump that is open if a capture is of another kernel or another boot, as
    far as both tell.

    :raises PagedbgError: with the way out
    """
    target, kernel = session.target, capture.meta.kernel
    if same_boot(session, capture):
        return
    way_out = f"open the capture alone, with pagedbg --capture {capture.path}"
    build = target.vmcoreinfo.get("BUILD-ID", "")
    if target.release != kernel.release or (
        build and kernel.build_id and build != kernel.build_id
    ):
        raise PagedbgError(
            f"{capture.path} is of kernel {kernel.release}, and {target.name} of"
            f" another build: {way_out}."
        )
    if target.boot_id and kernel.boot_id:
        raise PagedbgError(
            f"{capture.path} is of another boot than {target.name}: {way_out}."
        )
    if not capture.page_owner or not page_owner_inited(session.prog):
        return
    sets, _ = capture.latest(_SAMPLE, lambda records: records["event"] == SET)
    if not len(sets):
        return
    records = page_owners_of_pfns(session.prog, sets["pfn"])
    if (
        records["known"]
        & (records["state"] > 0)
        & (records["ts_nsec"] == sets["ts_nsec"])
    ).any():
        return
    now = KernelNames(session).now
    if now is None or int(sets["ts_nsec"].max()) > now + _SLACK_NS:
        raise PagedbgError(
            f"{capture.path} is of another boot than {target.name}, which has none of"
            f" its allocations: {way_out}."
        )
