# SPDX-License-Identifier: GPL-2.0-or-later
"""
BPF programs as the kernel loads them: compiled once for a kernel, and kept.

bcc's compiler takes a hundred megabytes, which is much to ask of a machine that has
lost its memory, and may crash on what it does not understand. So it runs in a process
of its own, and only if nobody has compiled the same before.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import dataclasses
import hashlib
import json
import os
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from pagedbg import trust
from pagedbg.errors import PagedbgError

# struct bpf_insn: code, registers (the source in the upper four bits), offset,
# immediate.
_INSN = struct.Struct("<BBhi")
_LD_IMM64, _PSEUDO_MAP_FD = 0x18, 1
_PSEUDO_MAP_VALUE = 2
_CALL, _PSEUDO_KFUNC_CALL = 0x85, 2

VALUE_MARK, VALUES = (
    0x70676462,
    ("pagedbg_header", "pagedbg_filter", "pagedbg_cpu", "pagedbg_waiting"),
)
"""
What stands in programs, as the upper half of a number, for the address of the one
element of these maps; the lower half says of which.
"""

CAST_CALL = 31000
"""
The number that programs call ``bpf_rdonly_cast()`` by, until they are loaded: no helper
has it.
"""


@dataclasses.dataclass(frozen=True)
class Map:
    """How a map is made: ``enum bpf_map_type``, sizes in bytes, flags."""

    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int


@dataclasses.dataclass(frozen=True)
class Image:
    """
    Maps by name; programs by name, as instructions; and for each program, which of its
    instructions load the address of which map.
    """

    maps: dict[str, Map]
    programs: dict[str, bytes]
    uses: dict[str, list[tuple[int, str]]]

    def linked(
        self, program: str, descriptors: Mapping[str, int], cast: int = 0
    ) -> bytes:
        """
        A program's instructions with what the kernel knows things by put in.

        :param descriptors: its maps' file descriptors
        :param cast: BTF id of ``bpf_rdonly_cast()``
        """
        code = bytearray(self.programs[program])
        for index, name in self.uses[program]:
            opcode, registers, offset, _ = _INSN.unpack_from(code, index * _INSN.size)
            _INSN.pack_into(
                code, index * _INSN.size, opcode, registers, offset, descriptors[name]
            )
        for at in range(0, len(code), _INSN.size):
            opcode, registers, offset, immediate = _INSN.unpack_from(code, at)
            if (opcode, registers, immediate) == (_CALL, 0, CAST_CALL):
                registers = _PSEUDO_KFUNC_CALL << 4
                _INSN.pack_into(code, at, opcode, registers, offset, cast)
            elif opcode == _LD_IMM64 and registers < 1 << 4:
                second = at + _INSN.size
                if _INSN.unpack_from(code, second)[3] == VALUE_MARK:
                    registers |= _PSEUDO_MAP_VALUE << 4
                    descriptor = descriptors[VALUES[immediate]]
                    _INSN.pack_into(code, at, opcode, registers, offset, descriptor)
                    _INSN.pack_into(code, second, 0, 0, 0, 0)
        return bytes(code)

    def to_json(self) -> str:
        """The image as text."""
        return json.dumps(
            {
                "maps": {
                    name: dataclasses.astuple(each) for name, each in self.maps.items()
                },
                "programs": {
                    name: base64.b64encode(code).decode()
                    for name, code in self.programs.items()
                },
                "uses": self.uses,
            }
        )

    @staticmethod
    def from_json(text: str) -> Image:
        """The image that :meth:`to_json` wrote; ValueError if it is none."""
        try:
            data = json.loads(text)
            return Image(
                {name: Map(*each) for name, each in data["maps"].items()},
                {
                    name: base64.b64decode(code)
                    for name, code in data["programs"].items()
                },
                {
                    name: [(int(index), str(each)) for index, each in uses]
                    for name, uses in data["uses"].items()
                },
            )
        except (LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"no image ({error})") from None


def sources() -> Path:
    """
    The directory of the C sources: in a checkout beside the package, in a wheel inside
    it.
    """
    inside = Path(__file__).parents[2] / "bpf"
    return inside if inside.is_dir() else Path(__file__).parents[3] / "bpf"


def build(defines: Mapping[str, int | str]) -> Image:
    """
    Return the programs for these definitions, from the cache or compiled.

    :raises PagedbgError: if they cannot be compiled
    """
    flags = [
        f"-D{name}={value:#x}ULL" if isinstance(value, int) else f"-D{name}={value}"
        for name, value in sorted(defines.items())
    ]
    name = f"{_digest(flags)}.json"
    # The programs will run in the kernel: none is taken that somebody else may have
    # written.
    with contextlib.suppress(OSError, ValueError):
        return Image.from_json(trust.read(_cache() / name).decode())
    image = _compile_apart(flags)
    # Without a cache it only takes longer the next time.
    with contextlib.suppress(OSError):
        kept = _cache() / name
        new = kept.with_suffix(f".{os.getpid()}")
        new.write_text(image.to_json())
        new.replace(kept)
    return image


def _cache() -> Path:
    return Path(trust.cache_directory("bpf"))


def _digest(flags: list[str]) -> str:
    digest = hashlib.sha256(json.dumps(flags).encode())
    for path in sorted(sources().rglob("*")):
        if path.is_file():
            digest.update(path.read_bytes())
    digest.update(Path(__file__).read_bytes())
    return digest.hexdigest()[:32]


def _compile_apart(flags: list[str]) -> Image:
    done = subprocess.run(
        trust.python("pagedbg.capture.backends.bpf_image"),
        input=json.dumps(flags),
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env=trust.environment(),
    )
    if done.returncode == 0:
        return Image.from_json(done.stdout)
    if done.returncode < 0:
        raise PagedbgError(
            f"bcc's compiler crashed ({signal.Signals(-done.returncode).name}): another"
            " version of python3-bpfcc may do better."
        )
    raise PagedbgError(
        done.stdout.strip()
        or f"bcc could not compile the programs: {one_sentence(done.stderr)}"
    )


def one_sentence(said: str) -> str:
    """What matters of what a compiler or the kernel's verifier said."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    for line in lines:
        if "error:" in line:
            return line.partition("error:")[2].strip()
    told = [
        line
        for line in lines
        if not re.match(r"processed \d+ insns|\d+:|;|R\d|HINT", line)
    ]
    return told[-1] if told else "no reason given"


# ---- in the process of its own ----


def _compile(flags: list[str]) -> Image:
    try:
        from bcc import BPF, lib
    except (ImportError, OSError) as error:
        raise PagedbgError(
            f"bcc cannot be used ({error}): apt install python3-bpfcc (the bcc on PyPI"
            " is something else)"
        ) from None

    class NotAttached(BPF):  # type: ignore[misc]
        def _trace_autoload(self) -> None:
            pass

    os.environ["BCC_KERNEL_SOURCE"] = str(sources() / "headers")
    bpf = NotAttached(
        text=(sources() / "capture.bpf.c").read_bytes(),
        cflags=[*flags, f"-I{sources()}"],
    )
    module = bpf.module
    for function in (
        lib.bpf_table_key_size_id,
        lib.bpf_table_leaf_size_id,
        lib.bpf_table_fd_id,
        lib.bpf_table_name,
    ):
        function.argtypes = [ctypes.c_void_p, ctypes.c_ulonglong]
    lib.bpf_table_name.restype = ctypes.c_char_p
    maps, numbers = {}, {}
    for i in range(lib.bpf_num_tables(module)):
        name = lib.bpf_table_name(module, i).decode()
        maps[name] = Map(
            lib.bpf_table_type_id(module, i),
            lib.bpf_table_key_size_id(module, i),
            lib.bpf_table_leaf_size_id(module, i),
            lib.bpf_table_max_entries_id(module, i),
            lib.bpf_table_flags_id(module, i),
        )
        numbers[lib.bpf_table_fd_id(module, i)] = name
    programs, uses = {}, {}
    for i in range(lib.bpf_num_functions(module)):
        name = lib.bpf_function_name(module, i).decode()
        code = bpf.dump_func(name.encode())
        programs[name] = code
        uses[name] = [
            (at, numbers[immediate])
            for at, (opcode, registers, _, immediate) in enumerate(
                _INSN.iter_unpack(code)
            )
            if opcode == _LD_IMM64 and registers >> 4 == _PSEUDO_MAP_FD
        ]
    return Image(maps, programs, uses)


def main() -> int:
    """
    Compile what standard input asks for; print the image, or a sentence and fail. What
    the compiler says is on standard error; where it ends the process, it is all.
    """
    try:
        image = _compile(json.load(sys.stdin))
    except PagedbgError as error:
        print(error)
        return 1
    except Exception as error:
        # bcc raises plain Exceptions; why is mostly said before.
        print(error, file=sys.stderr)
        return 1
    print(image.to_json())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
