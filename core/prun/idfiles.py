"""Files that say which container it is: ``--cidfile`` with its id, ``--pidfile`` with the pid of its process."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from prun.errors import AlreadyExists, FailedPrecondition

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prun.types import Task


@contextmanager
def cid_file(path: str, container_id: str) -> Iterator[None]:
    """Make a file that holds the id, without a line break; it is gone again when the block fails, and stays else.

    Raises:
        AlreadyExists: there is something at ``path``; the words are docker's.
        FailedPrecondition: the file cannot be made.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError as error:
        raise AlreadyExists(
            f"container ID file found, make sure the other container isn't running or delete {path}",
            hint="choose another --cidfile",
        ) from error
    except OSError as error:
        raise FailedPrecondition(f"--cidfile {path} cannot be made: {error.strerror}") from error
    try:
        with open(fd, "w", encoding="ascii") as file:
            file.write(container_id)
        yield
    except BaseException:
        with suppress(OSError):
            os.unlink(path)
        raise


def write_pid_file(path: str, task: Task) -> None:
    """Write the pid of a task's process, in one step: whoever sees the file sees all of it.

    Raises:
        FailedPrecondition: it has no process on this machine, or the file cannot be written.
    """
    if task.pid is None:
        raise FailedPrecondition(f"--pidfile {path}: the container has no process on this machine")
    temporary = f"{path}.{os.urandom(4).hex()}"
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644), "w") as file:
            file.write(str(task.pid))
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            os.unlink(temporary)
        raise FailedPrecondition(f"--pidfile {path} cannot be written: {error.strerror}") from error
