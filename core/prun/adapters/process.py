"""Run a program of somebody's, with one line in and one line out, and with as little privilege as it needs."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from typing import IO, NamedTuple

from prun.errors import InvalidArgument, PluginError, Unavailable
from prun.limits import seconds_left

ANSWER_LIMIT_BYTES = 1 << 20
_STDERR_LIMIT_BYTES = 1 << 16
_SYSTEM = ("/usr/bin", "/bin", "/usr/sbin", "/sbin")


class Program(NamedTuple):
    """A program and what it may use: ``user`` is a name or a uid, empty for that of prun itself."""

    words: tuple[str, ...]
    user: str = ""
    memory_limit_bytes: int = 1 << 30
    cpu_limit_s: int = 10
    open_files_limit: int = 64


def answer_of(program: Program, question: bytes) -> bytes:
    """Give a program one line on its stdin, and return what it writes to its stdout until it ends.

    It and what it has started in its session are gone afterwards, whatever happens.

    Raises:
        PluginError: it fails, writes too much, or is not done when the time of the block (``prun.limits``) is up.
        Unavailable: it or what takes its privileges away is not there.
    """
    with open(os.memfd_create("question"), "w+b") as stdin:  # a pipe would have to be filled while we read
        stdin.write(question)
        stdin.seek(0)
        process = _started(program, stdin)
    left = seconds_left()
    ends = None if left is None else time.monotonic() + left
    pidfd = os.pidfd_open(process.pid)
    try:
        written, told = _read(process, pidfd, program.words[0], ends)
    finally:
        _end(process, pidfd)
    code = process.returncode
    if code:
        how = f"died of signal {-code}" if code < 0 else f"exited with {code}"
        raise PluginError(f"{program.words[0]} {how}{f': {told}' if told else ''}")
    return written


def _started(program: Program, stdin: IO[bytes]) -> subprocess.Popen[bytes]:
    limits = (
        f"--as={program.memory_limit_bytes}", f"--cpu={program.cpu_limit_s}",
        f"--nofile={program.open_files_limit}", "--core=0",
    )  # fmt: skip
    words = (_tool("prlimit"), *limits, "--", _tool("setpriv"), *_less_privilege(program.user), "--", *program.words)
    try:
        return subprocess.Popen(
            words,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            env={"PATH": ":".join(_SYSTEM), "LANG": "C.UTF-8"},
            start_new_session=True,
        )
    except OSError as error:
        raise Unavailable(f"{words[0]} cannot be executed: {error.strerror}") from error


def _less_privilege(user: str) -> list[str]:
    words = ["--no-new-privs", "--pdeathsig", "KILL"]
    if os.geteuid() != 0:
        if user:
            raise InvalidArgument(f"only root can run a plugin as {user}", hint="leave out user")
        return words
    words += ["--inh-caps=-all", "--bounding-set=-all"]
    if not user:
        return words
    import pwd

    try:
        found = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except KeyError as error:
        raise InvalidArgument(f"there is no user {user!r} to run a plugin as", hint="user = NAME") from error
    return [*words, f"--reuid={found.pw_uid}", f"--regid={found.pw_gid}", "--clear-groups"]


def _tool(name: str) -> str:
    """Return where a tool of the system is, which is never looked for through ``$PATH``."""
    for directory in _SYSTEM:
        if os.access(path := os.path.join(directory, name), os.X_OK):
            return path
    raise Unavailable(f"{name} is not there, which takes privileges from a plugin", hint="install util-linux")


def _read(process: subprocess.Popen[bytes], pidfd: int, name: str, ends: float | None) -> tuple[bytes, str]:
    """Read until the program has ended, and what is there then; return stdout, and the last line of stderr."""
    assert process.stdout
    assert process.stderr
    streams = {process.stdout.fileno(): ANSWER_LIMIT_BYTES, process.stderr.fileno(): _STDERR_LIMIT_BYTES}
    data = {fd: bytearray() for fd in streams}
    with selectors.DefaultSelector() as selector:
        for fd in (*streams, pidfd):
            selector.register(fd, selectors.EVENT_READ)
        while selector.get_map():
            ready = [key.fd for key, _ in selector.select(None if ends is None else max(ends - time.monotonic(), 0))]
            if not ready:
                raise PluginError(f"{name} took longer than its time (timeout_s)")
            if ready == [pidfd]:
                break
            for fd in ready:
                if fd == pidfd:
                    continue
                chunk = os.read(fd, 1 << 16)
                if not chunk:
                    selector.unregister(fd)
                data[fd] += chunk
                if len(data[fd]) > streams[fd]:
                    raise PluginError(f"{name} writes more than {streams[fd]} bytes")
    out, err = (bytes(data[fd]) for fd in streams)
    lines = [line.strip() for line in err.decode(errors="replace").splitlines()]
    return out, next(filter(None, reversed(lines)), "")[:500]


def _end(process: subprocess.Popen[bytes], pidfd: int) -> None:
    """Kill what is left of the program's session, while its number cannot be that of another, and forget it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    os.close(pidfd)
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()
    process.wait()
