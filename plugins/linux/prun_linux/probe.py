"""A command in a running container, as its own process runs: same user, environment, directory and confinement.

For health checks; ``RUNTIME exec`` with a process of ours (config.md#process) and pipes for its output.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from prun.errors import FailedPrecondition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prun.types import Container
    from prun_linux.oci import OciRuntime

_KEPT_BYTES = 1 << 16
_CHUNK_BYTES = 1 << 16


def probe(
    runtime: OciRuntime, container: Container, words: Sequence[str], timeout_s: float
) -> tuple[int | None, bytes]:
    """Run ``words`` and return the exit code and the beginning of what it wrote to stdout and stderr, as it came.

    The exit code is None when ``timeout_s`` seconds have passed: then it has been killed, and what it had started.

    Raises:
        FailedPrecondition: the container has ended.
    """
    name = f"probe-{os.urandom(4).hex()}"
    process_file, pid_file = (os.path.join(container.bundle, name + ending) for ending in (".json", ".pid"))
    try:
        _write_process(container, words, process_file)
        return _run(runtime, container, process_file, pid_file, timeout_s)
    finally:
        for path in (process_file, pid_file):
            with suppress(FileNotFoundError):
                os.unlink(path)


def _write_process(container: Container, words: Sequence[str], path: str) -> None:
    try:
        with open(os.path.join(container.bundle, "config.json"), encoding="utf-8") as file:
            process = json.load(file)["process"]
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileNotFoundError as error:
        raise FailedPrecondition(f"container {container.id[:12]} is not running") from error
    with open(fd, "w", encoding="utf-8") as file:
        json.dump({**process, "args": list(words), "terminal": False}, file)


def _run(
    runtime: OciRuntime, container: Container, process_file: str, pid_file: str, timeout_s: float
) -> tuple[int | None, bytes]:
    read, write = os.pipe()
    kept = bytearray()

    def collect() -> None:
        while chunk := os.read(read, _CHUNK_BYTES):
            kept.extend(chunk[: _KEPT_BYTES - len(kept)])

    reader = threading.Thread(target=collect, daemon=True)
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        words = ["exec", "--process", process_file, "--pid-file", pid_file, container.id]
        call = runtime.spawn(words, stdio=(null, write, write))
    finally:
        os.close(null)
        os.close(write)
    reader.start()
    try:
        pidfd = os.pidfd_open(call.pid)
        try:
            from prun_linux.task import has_ended

            in_time = has_ended(pidfd, timeout_s)
        finally:
            os.close(pidfd)
        if not in_time:
            _kill_with_descendants(pid_file)
            if call.poll() is None:
                call.kill()
        code = call.wait()
        reader.join(1.0)  # what it has left behind in the background may have the pipe for as long as it likes
    finally:
        if not reader.is_alive():
            os.close(read)
    return (code if in_time else None), bytes(kept)


def _kill_with_descendants(pid_file: str) -> None:
    """Kill the process of a pid file and what descends from it; each is stopped first, so that none escapes."""
    try:
        with open(pid_file, encoding="ascii") as file:
            pids = [int(file.read())]
    except (OSError, ValueError):
        return  # it has not come so far
    for pid in pids:
        with suppress(OSError):
            os.kill(pid, signal.SIGSTOP)
            with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
                pids += map(int, file.read().split())
    for pid in pids:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
