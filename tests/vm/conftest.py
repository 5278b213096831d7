# SPDX-License-Identifier: GPL-2.0-or-later
"""
Booted kernels of the lab, each asked once for all that its tests look at.

Emulated without KVM a guest takes its time, so one script asks pagedbg and then the kernel itself, and the guest ends as a dump.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from booted import KERNELS, LAB, PATIENCE, Answer, Live, dump, guest, kernels
from debugfs_text import parse


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this directory."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("vm")


IN_GUEST = Path(__file__).with_name("in_guest.py")


@pytest.fixture(scope="session", params=KERNELS)
def live(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Live:
    """A guest with an ordinary load, asked and then dumped."""
    kernel = kernels.build(request.param, say=print)
    out = tmp_path_factory.mktemp(f"live-{kernel.series}")
    with guest.Guest(kernel, memory="512M", rw=[out]) as machine:
        blocks = str(guest.blocks_module(kernel))
        machine.run(["sh", str(LAB / "workloads" / "ordinary.sh")], env={"LAB_BLOCKS": blocks}, timeout=PATIENCE).check()
        machine.run([sys.executable, IN_GUEST, out, "live"], timeout=PATIENCE).check()
        core = dump.dump(machine, out / "vmcore", timeout=PATIENCE).core
    rows = map(json.loads, (out / "owners").read_text().splitlines())
    held = [line.split() for line in (out / "blocks").read_text().splitlines()]
    return Live(
        kernel,
        {row["pfn"]: row for row in rows},
        parse((out / "text").read_text(errors="backslashreplace")),
        {name: (int(order), int(pfn), int(pages)) for name, order, pfn, pages in held},
        {int(path.name.partition("-")[2]): json.loads(path.read_text()) for path in out.glob("inspect-*")},
        {path.stem: _answer(path) for path in out.glob("*.status")},
        core,
    )


def _answer(status: Path) -> Answer:
    return Answer(int(status.read_text()), status.with_suffix(".out").read_text(), status.with_suffix(".err").read_text())


@pytest.fixture
def boot(tmp_path: Path) -> Callable[..., list[Answer]]:
    """Run commands of pagedbg in a guest that is booted in some way for them."""

    def run(*commands: str, **options: Any) -> list[Answer]:
        with guest.Guest("6.12", memory="512M", rw=[tmp_path], **options) as machine:
            machine.run([sys.executable, IN_GUEST, tmp_path, *commands], timeout=PATIENCE).check()
        return [_answer(tmp_path / f"{number}.status") for number in range(len(commands))]

    return run
