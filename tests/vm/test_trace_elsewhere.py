# SPDX-License-Identifier: GPL-2.0-or-later
"""Recording where something is missing: page_owner, bcc, an unlocked kernel."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import Any

import prebuilt
import pytest
from booted import NO_BCC, OUT, PAGEDBG, boot, kernels

from pagedbg.capture.backends import bpf_image, bpf_programs
from pagedbg.capture.backends.bpf_programs import COMBINED, TRACEPOINT
from pagedbg.errors import PagedbgError

CHURN = "/proc/pagedbg_churn"

WITHOUT_PAGE_OWNER = f"""
trace set --orders 4,0:10
trace start --output $OUT/capture
!echo alloc 4 10 >{CHURN}; echo free 4 >{CHURN}; echo pairs 4 30 >{CHURN}
!sleep 1; cp {CHURN} $OUT/held
owners --orders 4 --module pagedbg_churn --format jsonl -o $OUT/owners.jsonl
owners --by module
correlate --leaked --by function --format jsonl -o $OUT/leaked.jsonl
trace stop
"""


def test_tracepoints_answer_where_page_owner_is_off(tmp_path: Path) -> None:
    with boot(
        "6.12",
        "traced without page_owner",
        memory="512M",
        page_owner=False,
        out=tmp_path,
    ) as machine:
        machine.load_churn()
        machine.write(OUT / "script", WITHOUT_PAGE_OWNER.replace("$OUT", str(OUT)))
        done = machine.run([PAGEDBG, "--no-pager", "-x", OUT / "script"]).check()
    held = {
        int(line.split()[0])
        for line in (tmp_path / "held").read_text().splitlines()
        if not line.startswith("#")
    }
    rows: list[dict[str, Any]] = [
        json.loads(line)
        for line in (tmp_path / "owners.jsonl").read_text().splitlines()
    ]
    assert {row["pfn"] for row in rows} == held
    assert all(
        "pagedbg_churn_alloc" in str(row["stack"]) and row["comm"] == "sh"
        for row in rows
    )
    leaked = {
        row["function"]: row
        for row in map(json.loads, (tmp_path / "leaked.jsonl").read_text().splitlines())
    }
    assert leaked["pagedbg_churn_alloc"]["blocks"] == 6
    assert "from the tracepoints mm_page_free, mm_page_alloc" in done.text
    assert (
        "page_owner is off: this is what was allocated since the trace began"
        in done.text
    )


@pytest.mark.parametrize(
    ("before", "append", "said"),
    [
        (NO_BCC, "", "apt install python3-bpfcc"),
        ("true", "lockdown=confidentiality", "lock"),
    ],
    ids=["no bcc", "locked down"],
)
def test_what_is_missing_is_said_in_a_sentence(
    before: str, append: str, said: str
) -> None:
    with boot("6.12", said, memory="512M", append=append) as machine:
        machine.sh(before)
        done = machine.run([PAGEDBG, "-e", "trace start --backend bpf"])
    error = done.stderr.decode()
    assert done.status == 1
    assert said in error
    assert len(error.splitlines()) == 1
    assert "Traceback" not in error


@pytest.mark.parametrize("attach", [COMBINED, TRACEPOINT])
def test_programs_are_compiled_for_cpus_that_do_not_see_stores_in_their_order(
    attach: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = prebuilt.described(kernels.build("6.12", say=print), True)
    monkeypatch.setattr(bpf_programs.platform, "machine", lambda: "aarch64")
    with prebuilt.ours():
        image = bpf_programs.image_for(
            bpf_programs.hooked(kernel.functions, attach),
            kernel.constants,
            prebuilt.CPUS,
            64,
            attach,
        )
    # BPF_STX | BPF_ATOMIC | BPF_DW, and BPF_XCHG
    exchanges = {
        name: sum(
            opcode == 0xDB and operation == 0xE1
            for opcode, _, _, operation in struct.iter_unpack("<BBhi", code)
        )
        for name, code in image.programs.items()
    }
    assert all(exchanges.values()), exchanges


def test_why_programs_could_not_be_compiled_is_said_in_the_compilers_words() -> None:
    with prebuilt.ours(), pytest.raises(PagedbgError) as error:
        bpf_image.build({"CPUS": 2})
    assert re.search(r"could not compile the programs: .*undeclared", str(error.value))
