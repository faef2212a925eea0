"""The sessions of ``prun exec``: a directory each, ``STATE/exec/CONTAINER+SESSION``, as long as its process lives.

A prun that looks after one has its directory locked.  One that was left, or started detached, has a file ``left`` in
it, and belongs to its conmon.  Any other was somebody's who is dead: its process is ended.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, cast

from prun.ending import find_task
from prun.errors import NotFound, PluginError, Unimplemented

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prun.live import LiveTask, Session
    from prun.metadata import ContainerRow
    from prun.state import Store

LEFT = "left"
UNKNOWN_CODE = 255


def directory_of(store: Store, container_id: str, session_id: str) -> str:
    """Return the path of a session's directory."""
    return os.path.join(store.state, "exec", f"{container_id}+{session_id}")


@contextmanager
def directory(path: str) -> Iterator[None]:
    """Make a session's directory, locked; it goes with the context unless the session was left."""
    from prun.rootfs.claims import claimed

    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    while True:
        os.mkdir(path, 0o700)
        with claimed(path) as ours:
            if not ours:
                continue  # who looks for strays has removed it at once
            try:
                yield
            finally:
                if not os.path.exists(os.path.join(path, LEFT)):
                    remove(path)
            return


def leave(path: str) -> None:
    """From now on the session is its monitor's."""
    os.close(os.open(os.path.join(path, LEFT), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def remove(path: str) -> None:
    """Remove the directory, whoever else is doing so."""
    with suppress(FileNotFoundError):
        for name in os.listdir(path):
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(path, name))
        os.rmdir(path)


def tell(store: Store, row: ContainerRow, action: str, session_id: str, **attributes: str) -> None:
    """Write an event of a session down."""
    what = row.attributes(execID=session_id, **attributes)
    store.metadata.add_event("container", action, row.id, what)


def end_strays(store: Store) -> list[str]:
    """End the processes of sessions whose prun was killed, and remove what is left of others; in a sentence each."""
    try:
        names = os.listdir(os.path.join(store.state, "exec"))
    except FileNotFoundError:
        return []
    ended = [(name.partition("+")[0], end_stray(store, *name.split("+", 1))) for name in names if "+" in name]
    return [
        f"a session in container {container_id[:12]}, whose prun is gone: ended" for container_id, done in ended if done
    ]


def settle(store: Store, session: Session, container_id: str, session_id: str) -> None:
    """Do what the monitor of a session that was left could not, as long as we had it locked, if it has ended by now."""
    if session.monitor_pid is None or session.exited():
        end_stray(store, container_id, session_id)


def end_stray(store: Store, container_id: str, session_id: str) -> bool:
    """End a session that nobody looks after; False where somebody does."""
    from prun.rootfs.claims import claimed

    path = directory_of(store, container_id, session_id)
    with claimed(path) as ours:
        if not ours:
            return False
        row = store.metadata.container(container_id)
        session = _session(store, row, path) if row else None
        if session:
            status = session.exited()
            if not status and session.monitor_pid and os.path.exists(os.path.join(path, LEFT)):
                return False
            if row and os.listdir(path):
                if not status:  # else its monitor may be waiting for us
                    session.delete()
                    status = session.exited()
                tell(store, row, "exec_die", session_id, exitCode=str(status.code if status else UNKNOWN_CODE))
        remove(path)
    return True


def _session(store: Store, row: ContainerRow, path: str) -> Session | None:
    try:
        task = find_task(store, row)
    except (Unimplemented, NotFound, PluginError):
        return None
    return cast("LiveTask", task).session(path) if hasattr(task, "session") else None
