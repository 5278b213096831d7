# SPDX-License-Identifier: GPL-2.0-or-later
"""
Runs pagedbg, and pieces of Python that use it, in processes that are forked when all
that they import is imported already.

Emulated, a Python that imports drgn, NumPy and DuckDB is busy for seconds before it
does anything. Only tests of starting start the real program; others ask this server
through client.c, which explains what the two say to each other.

    python server.py SOCKET [MODULE]...

imports all of pagedbg unless it is told which modules, and ends when its standard input
does. What the forked processes start with Python is forked by it, too.
"""

from __future__ import annotations

import array
import contextlib
import gc
import importlib
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import struct
import sys
import traceback
from typing import NamedTuple, NoReturn

NUMBERS = struct.Struct("=II")  # uint32_t: bytes that follow, arguments among them
STATUS = struct.Struct("=i")

# Modules that do something when they are imported.
PROGRAMS = ("pagedbg.__main__",)
# What needs packages that pagedbg does without, where nobody asks for it.
EXTRAS = ("pagedbg.shell.mcp_server",)


class Request(NamedTuple):
    """What a client asks for: the files are its standard input, output and error."""

    cwd: bytes
    argv: list[str]
    environment: dict[bytes, bytes]
    files: list[int]


def everything() -> list[str]:
    """What any command may need."""
    import pagedbg

    found = [
        module.name for module in pkgutil.walk_packages(pagedbg.__path__, "pagedbg.")
    ]
    return [
        "drgn",
        "duckdb",
        "numpy",
        "rich.table",
        *(name for name in found if name not in (*PROGRAMS, *EXTRAS)),
    ]


def load_libbcc() -> None:
    """It has LLVM in it, which takes a second to link."""
    from pagedbg.capture.backends import libbcc
    from pagedbg.errors import PagedbgError

    with contextlib.suppress(PagedbgError):
        libbcc.library()


def receive(connection: socket.socket) -> Request:
    """Read a request."""
    files = array.array("i")
    first, ancillary, _, _ = connection.recvmsg(
        1, socket.CMSG_SPACE(3 * files.itemsize)
    )
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            files.frombytes(data)
    length, count = NUMBERS.unpack(
        first + connection.recv(NUMBERS.size - 1, socket.MSG_WAITALL)
    )
    fields = connection.recv(length, socket.MSG_WAITALL).split(b"\0")[:-1]
    environment = dict(setting.split(b"=", 1) for setting in fields[1 + count :])
    return Request(
        fields[0],
        [os.fsdecode(field) for field in fields[1 : 1 + count]],
        environment,
        list(files),
    )


def run(request: Request, python: str) -> NoReturn:
    """
    Be the process that was asked for.

    :param python: the program by which it starts other Pythons
    """
    for number, file in enumerate(request.files):
        os.dup2(file, number)
    os.closerange(3, max(request.files) + 64)
    os.chdir(request.cwd)
    os.environb.clear()
    os.environb.update(request.environment)
    # As Python makes them when it starts: of what stands behind the descriptors now.
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - they stay open
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.executable = python
    # A shell that starts the server in the background has it ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    status = 0
    try:
        execute(request.argv)
    except SystemExit as leave:
        if isinstance(leave.code, str):
            print(leave.code, file=sys.stderr)
        status = (
            leave.code if isinstance(leave.code, int) else int(leave.code is not None)
        )
    except BaseException:
        traceback.print_exc()
        status = 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                status = status or 120
        os._exit(status)


def execute(argv: list[str]) -> None:
    """Do what the program called ``argv[0]`` would do."""
    if argv[0].endswith("pagedbg"):
        from pagedbg.cli import main

        sys.argv = argv
        raise SystemExit(main())
    match argv[1:]:
        case ["-I", start, module, *rest] if start.endswith("/start.py"):
            # What pagedbg.trust.python() starts.
            sys.argv = [module, *rest]
            raise SystemExit(importlib.import_module(module).main())
        case ["-c", code, *rest]:
            sys.argv = ["-c", *rest]
            exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
        case [path, *rest]:
            sys.argv = [path, *rest]
            sys.path.insert(0, os.path.dirname(path))
            runpy.run_path(path, run_name="__main__")
        case _:
            raise SystemExit("forkserver: there is nothing to run")


def serve(server: socket.socket, python: str) -> None:
    """
    Fork a process for each request, and tell its status when it has ended. One whose
    client is killed is told to end.
    """
    children: dict[socket.socket, int] = {}
    with selectors.DefaultSelector() as selector:

        def let_go(connection: socket.socket) -> int:
            selector.unregister(connection)
            connection.close()
            return children.pop(connection)

        def begin() -> None:
            connection = server.accept()[0]
            try:
                request = receive(connection)
            except (OSError, ValueError, struct.error):
                # Whoever asked has been killed meanwhile.
                connection.close()
                return
            pid = os.fork()
            if pid == 0:
                run(request, python)
            for file in request.files:
                os.close(file)
            children[connection] = pid
            # A client that has asked says nothing more until it is gone.
            selector.register(connection, selectors.EVENT_READ)
            selector.register(
                os.pidfd_open(pid), selectors.EVENT_READ, (pid, connection)
            )

        def ended(pidfd: int, pid: int, connection: socket.socket) -> None:
            selector.unregister(pidfd)
            os.close(pidfd)
            status = os.waitpid(pid, 0)[1]
            if connection in children:
                with contextlib.suppress(BrokenPipeError):
                    connection.sendall(STATUS.pack(status))
                let_go(connection)

        selector.register(server, selectors.EVENT_READ)
        selector.register(sys.stdin, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is sys.stdin:
                    return
                if key.fileobj is server:
                    begin()
                elif key.data:
                    ended(key.fd, *key.data)
                elif key.fileobj in children:
                    os.kill(let_go(key.fileobj), signal.SIGTERM)


def main(path: str, *modules: str) -> None:
    """Listen at ``path``, which is there once clients may come."""
    for name in modules or everything():
        importlib.import_module(name)
    if not modules:
        load_libbcc()
    # What is there now is never collected, so that forked processes go on sharing it.
    gc.collect()
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{path}.new")
        server.listen(64)
        os.rename(f"{path}.new", path)
        serve(server, os.path.join(os.path.dirname(path), "python"))


if __name__ == "__main__":
    main(*sys.argv[1:])
