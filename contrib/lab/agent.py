# SPDX-License-Identifier: GPL-2.0-or-later
"""
The lab's agent: runs commands inside a guest for :mod:`guest`, which is at the other
end of a virtio-serial port.

Both directions carry frames: a byte that says what it is, a length, and so many bytes.
Everything goes through the one port, so the serial console is the kernel's alone and a
command's output is exactly what it wrote. Few modules are imported: under emulation
each costs time on every boot.
"""

import fcntl
import os
import select
import struct
import termios

PORT = "pagedbg.lab"
HEADER = struct.Struct("!cI")

# As much of a frame as the port takes in one write: so a kernel that panics leaves no
# half of one, and the crash kernel's agent can begin with a frame of its own.
CHUNK = (1 << 15) - HEADER.size

# Numbers, since the signal module would double the time that Python needs to start.
SIGPIPE, SIGXFSZ = 13, 25

# How long output is waited for once the command is gone; what it left running may hold
# the pipes open for ever.
LINGER = 0.3


def find_port():
    """The device file of our port; without udev there is no link named after it."""
    for name in os.listdir("/sys/class/virtio-ports"):
        with open(f"/sys/class/virtio-ports/{name}/name") as f:
            if f.read().strip() == PORT:
                return f"/dev/{name}"
    raise SystemExit(f"agent: there is no virtio-serial port named {PORT}")


class Port:
    """Frames over the virtio-serial port."""

    def __init__(self, fd):
        self.fd = fd
        self.buffer = b""

    def send(self, kind, data=b""):
        data = memoryview(HEADER.pack(kind, len(data)) + data)
        while data:
            data = data[os.write(self.fd, data) :]

    def receive(self):
        """The next frame, waiting for it; ``(b"", b"")`` once the host is gone."""
        while True:
            if len(self.buffer) >= HEADER.size:
                kind, length = HEADER.unpack_from(self.buffer)
                end = HEADER.size + length
                if len(self.buffer) >= end:
                    data, self.buffer = (
                        self.buffer[HEADER.size : end],
                        self.buffer[end:],
                    )
                    return kind, data
            data = os.read(self.fd, CHUNK)
            if not data:
                return b"", b""
            self.buffer += data

    def pending(self):
        """
        Whether :meth:`receive` would return without waiting for the host to write.
        """
        if len(self.buffer) < HEADER.size:
            return False
        return len(self.buffer) >= HEADER.size + HEADER.unpack_from(self.buffer)[1]


class Request:
    """
    What a command frame asks for; :func:`pack_request` and this are each other's
    inverse.
    """

    def __init__(self, data):
        cwd, size, count, *rest = (os.fsdecode(field) for field in data.split(b"\0"))
        self.cwd = cwd
        self.size = [
            int(n) for n in size.split()
        ]  # rows and columns of a terminal, or nothing
        self.argv = rest[: int(count)]
        self.environment = dict(setting.split("=", 1) for setting in rest[int(count) :])


def pack_request(argv, cwd, environment, size):
    """
    The frame's bytes; fields with a NUL between them, because the json module takes
    long to import under emulation.
    """
    settings = (f"{name}={value}" for name, value in environment.items())
    return b"\0".join(
        os.fsencode(field)
        for field in (cwd, " ".join(map(str, size)), str(len(argv)), *argv, *settings)
    )


def set_size(fd, rows, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def start(request):
    """
    Start the command; returns its pid, our end of its standard input, and a dict from
    readable descriptors to kinds of frames.
    """
    if request.size:
        outside, inside = os.openpty()
        set_size(inside, *request.size)
        # The first terminal that a session leader opens becomes its controlling
        # terminal.
        actions = [(os.POSIX_SPAWN_OPEN, 0, os.ttyname(inside), os.O_RDWR, 0)]
        actions += [(os.POSIX_SPAWN_DUP2, 0, 1), (os.POSIX_SPAWN_DUP2, 0, 2)]
        stdin, outputs, theirs = outside, {outside: b"o"}, (inside,)
    else:
        (in_read, stdin), (out_read, out_write), (err_read, err_write) = (
            os.pipe(),
            os.pipe(),
            os.pipe(),
        )
        outputs, theirs = (
            {out_read: b"o", err_read: b"e"},
            (in_read, out_write, err_write),
        )
        actions = [
            (os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(theirs)
        ]
    # The program is looked for on the path of this process.
    before = dict(os.environ)
    try:
        os.chdir(request.cwd)
        os.environ.update(request.environment)
        pid = os.posix_spawnp(
            request.argv[0],
            request.argv,
            os.environ,
            file_actions=actions,
            setsid=True,
            setsigdef=(SIGPIPE, SIGXFSZ),
        )
    except OSError:
        for fd in {stdin, *outputs}:
            os.close(fd)
        raise
    finally:
        os.environ.clear()
        os.environ.update(before)
        for fd in theirs:
            os.close(fd)
    os.set_blocking(stdin, False)
    return pid, stdin, outputs


class Command:
    """One running command: moves its bytes until it is over."""

    def __init__(self, port, request):
        self.port = port
        self.tty = bool(request.size)
        self.pid, self.stdin, self.outputs = start(request)
        self.waiting = b""  # for standard input
        self.closing = False  # the host has no more of it

    def run(self):
        """
        Returns the exit status as a shell counts it, once the command and its output
        have ended.
        """
        pidfd = os.pidfd_open(self.pid)
        status = None
        while self.outputs or status is None:
            # Frames that came together with an earlier one are in our buffer, where
            # select() does not see them.
            while not self.waiting and self.port.pending():
                self.obey()
            sources = [
                *self.outputs,
                *([] if self.waiting else [self.port.fd]),
                *([pidfd] if status is None else []),
            ]
            sinks = [self.stdin] if self.waiting else []
            readable, writable, _ = select.select(
                sources, sinks, [], None if status is None else LINGER
            )
            if status is not None and not any(fd in self.outputs for fd in readable):
                break
            if writable:
                self.feed()
            for fd in readable:
                if fd in self.outputs:
                    self.copy(fd)
            if self.port.fd in readable:
                self.obey()
            if pidfd in readable:
                status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
                self.waiting = b""
        for fd in {self.stdin, *self.outputs} - {-1}:
            os.close(fd)
        os.close(pidfd)
        return status if status >= 0 else 128 - status

    def copy(self, fd):
        """
        Pass on what the command has written; a pseudo-terminal whose other side is
        closed says EIO.
        """
        try:
            data = os.read(fd, CHUNK)
        except OSError:
            data = b""
        if data:
            self.port.send(self.outputs[fd], data)
        else:
            del self.outputs[fd]
            if fd != self.stdin:
                os.close(fd)

    def obey(self):
        """Do what one frame from the host asks."""
        kind, data = self.port.receive()
        if kind == b"":
            power_off()
        elif kind == b"i" and self.stdin != -1:
            self.waiting += data
            self.closing = not data
            self.feed()
        elif kind == b"w" and self.tty:
            set_size(self.stdin, *map(int, data.split()))

    def feed(self):
        """
        Write to the command's standard input what it takes, and close it after the last
        byte.
        """
        try:
            if self.waiting:
                self.waiting = self.waiting[os.write(self.stdin, self.waiting) :]
        except BlockingIOError:
            pass
        except OSError:
            self.waiting = b""
            self.closing = True
        if self.closing and not self.waiting and not self.tty and self.stdin != -1:
            os.close(self.stdin)
            self.stdin = -1


def power_off():
    """
    Nobody is there any more to tell the result: a guest that stayed would never end.
    """
    with open("/proc/sysrq-trigger", "w") as f:
        f.write("o")
    select.select([], [], [])


def prepare():
    """What the init process has left undone of the machine that commands expect."""
    os.environ["HOME"] = "/root"
    os.environ["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    with open("/proc/sys/kernel/printk", "w") as f:
        f.write("5 4 1 7")


def main():
    prepare()
    port = Port(os.open(find_port(), os.O_RDWR | os.O_CLOEXEC))
    port.send(b"r")
    while True:
        kind, data = port.receive()
        if kind == b"":
            power_off()
        if kind == b"c":
            port.send(b"x", b"%d" % serve(port, Request(data)))


def serve(port, request):
    """
    Run one command and return its exit status; 127 and 126 are, as a shell's, for
    commands not found and not runnable.
    """
    try:
        command = Command(port, request)
    except OSError as error:
        port.send(
            b"e", f"{error.filename or request.argv[0]}: {error.strerror}\n".encode()
        )
        return 127 if isinstance(error, FileNotFoundError) else 126
    return command.run()


if __name__ == "__main__":
    main()
