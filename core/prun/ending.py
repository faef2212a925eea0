"""What is to be done when the process of a container has ended.

A container that lives without prun belongs to its monitor (it has the lease).  When its process ends, the monitor calls
``prun container cleanup``, unless a prun that is attached to it says that it will do the same itself: ``finish``.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from prun.errors import FailedPrecondition, NotFound, PluginError, Unimplemented
from prun.record import Record, lease_of, own_lease
from prun.types import Container

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prun.live import LiveTask
    from prun.metadata import ContainerRow, Lease
    from prun.state import Store
    from prun.types import Task

RELEASE_S = 10.0
LIVING = ("running", "paused", "restarting")
_FIRST_DELAY_S, _LONGEST_DELAY_S, _STABLE_S = 0.1, 60.0, 10.0  # moby's restart manager


def find_task(store: Store, row: ContainerRow) -> Task:
    """Return the task of a container that another process made.

    Raises:
        Unimplemented: the runtime's tasks end with the process that made them.
        NotFound, PluginError: the runtime was uninstalled or does not load.
    """
    from prun.loading import load

    container = Container(
        row.id, row.runtime, store.bundle(row.id), store.root, store.state, row.pid, row.options, row.start_time,
        row.engine, row.engine_options, row.keep and row.status != "created",
    )  # fmt: skip
    return load(row.runtime, engine=row.engine, only=[]).load_task(container)


def live_task(store: Store, row: ContainerRow) -> LiveTask:
    """Return the task of a container that runs, to do something with it.

    Raises:
        FailedPrecondition: it does not run.
        Unimplemented: the runtime's tasks cannot be reached from another process.
    """
    if row.status not in ("running", "paused"):
        raise FailedPrecondition(f"container {row.name} is not running", hint=f"prun start {row.name}")
    task = find_task(store, row)
    if not hasattr(task, "attach"):
        raise Unimplemented(f"containers of runtime {row.runtime} cannot be reached from another prun")
    return cast("LiveTask", task)


def end_task(store: Store, row: ContainerRow) -> None:
    """End what still runs of a container and let its runtime forget it."""
    try:
        find_task(store, row).delete()
    except (Unimplemented, NotFound, PluginError):
        return  # nothing can be left, or nothing can be reached: the next command must work all the same


def take(store: Store, container_id: str, lease: Lease | None) -> ContainerRow | None:
    """Take a container over from its monitor, or from whoever is dead; None where another process is quicker.

    ``lease`` is what was read before looking at the container: as long as nobody else has it, what was seen is true.
    """
    ours = own_lease(container_id)
    if lease == ours or (store.metadata.take_lease(lease, ours) if lease else store.metadata.add_lease(ours)):
        return store.metadata.container(container_id)
    return None


def finish_ended(container: Record) -> None:
    """Do what the monitor leaves to us: finish a container whose process has ended, if nobody else has by now.

    When this returns, the monitor is gone too.
    """
    store = container.store
    lease = store.metadata.lease(container.row.id)
    row = store.metadata.container(container.row.id)
    if row is None or row.status not in ("running", "paused"):
        return
    task = cast("LiveTask", find_task(store, row))
    if task.exited() is None:
        return
    monitor = task.monitor_pid
    if (row := take(store, row.id, lease)) is not None:
        finish_and_restart(store, row)
    wait_for_end(monitor, RELEASE_S)


@contextmanager
def attended(container: Record) -> Iterator[None]:
    """Say to the monitor that this prun cleans up when the container has ended; what ended meanwhile, it does."""
    import fcntl

    fd = os.open(_client_file(container), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
        if container.left:
            finish_ended(container)


@contextmanager
def ended_here(container: Record) -> Iterator[None]:
    """Do what the monitor would call a prun for, when the block has ended the container: one start of Python less.

    Where another prun attends to the container, or has just begun to end it, it cleans up.
    """
    import fcntl

    try:
        fd = os.open(_client_file(container), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:  # its bundle was wiped
        yield
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        yield
        return
    try:
        yield
        finish_ended(container)
    finally:
        os.close(fd)
        finish_ended(container)  # it may have ended when we looked no more, and the monitor saw our lock


def _client_file(container: Record) -> str:
    return os.path.join(container.bundle, "client")


def is_attended(bundle: str) -> bool:
    """Tell whether a prun has said that it cleans up when the container has ended."""
    import fcntl

    try:
        fd = os.open(os.path.join(bundle, "client"), os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def wait_for_end(pid: int | None, timeout_s: float) -> None:
    """Wait until a process that is not our child has ended; None is one that has."""
    import select

    try:
        pidfd = os.pidfd_open(pid) if pid else -1
    except ProcessLookupError:
        return
    if pidfd >= 0:
        try:
            select.select([pidfd], [], [], timeout_s)
        finally:
            os.close(pidfd)


def is_next_run(row: ContainerRow, now: ContainerRow | None) -> bool:
    """Tell whether a container is waiting to run, or runs, once more after it ran as ``row`` says."""
    if now is None or now.status not in LIVING:
        return False
    if "restarting" in (row.status, now.status):
        return row.status != now.status
    return (now.pid, now.start_time) != (row.pid, row.start_time)


def has_ended(store: Store, row: ContainerRow) -> bool:
    """Tell whether the process of a container that is said to live has ended; its exit code is written down by then."""
    try:
        return find_task(store, row).wait(0) is not None
    except (Unimplemented, NotFound, PluginError):
        return True  # nothing of it is within our reach but its record


def finish(store: Store, row: ContainerRow, *, error: str = "") -> float | None:
    """Record how a container that we have taken over ended, and take it down; ``error`` is why nobody knows how.

    Returns in how many seconds its restart policy wants it to be started again, None for not at all.
    """
    record = Record(store, row)
    if row.status in ("running", "paused"):
        try:
            task = cast("LiveTask", find_task(store, row))
            status = task.exited()
            error = "" if status else error
            record.exited(status, error=error, oom_killed=task.out_of_memory())
            task.delete()
        except (Unimplemented, NotFound, PluginError):  # the runtime is gone: what is known must be right all the same
            record.exited(None, error=error)
    else:
        end_task(store, row)
    delay = None if error else restart_delay(row, record.row.exit_code or 0)
    if delay is None:
        record.end()
        return None
    record.set(status="restarting", restart_count=row.restart_count + 1)
    record.take_down()
    return delay


def finish_and_restart(store: Store, row: ContainerRow, *, error: str = "") -> None:
    """Finish a container, and have a shell start it again later where its restart policy wants that."""
    delay = finish(store, row, error=error)
    if delay is None:
        return
    import subprocess

    # The one in the background is nobody's child; from now on the container is its to look after.
    script = '(sleep "$1"; shift; exec "$@") >/dev/null & echo $!'
    again = (*own_command(store.root, store.state), "start", "--again", row.id)
    null = subprocess.DEVNULL
    answer = subprocess.run(
        ["/bin/sh", "-c", script, "sh", f"{delay:g}", *again],
        stdin=null, stdout=subprocess.PIPE, stderr=null, cwd="/", start_new_session=True, check=True,
    )  # fmt: skip
    store.metadata.take_lease(own_lease(row.id), lease_of(row.id, int(answer.stdout)))


def own_command(root: str, state: str) -> tuple[str, ...]:
    """Return the words that call this prun, with the same directories, from wherever."""
    directories = ("--root", os.path.abspath(root), "--state", os.path.abspath(state))
    return (sys.executable, "-P", "-m", "prun", *directories)


def restart_delay(row: ContainerRow, code: int) -> float | None:
    """Return in how many seconds a container is started again by its policy, None for not at all."""
    policy, _, most = row.restart.partition(":")
    if not policy or row.stop_asked:
        return None
    if policy == "on-failure" and (code == 0 or (most and row.restart_count >= int(most))):
        return None
    if row.started_at and time.time() - row.started_at >= _STABLE_S:
        return _FIRST_DELAY_S
    return float(min(_FIRST_DELAY_S * 2 ** min(row.restart_count, 16), _LONGEST_DELAY_S))


@contextmanager
def at_work(store: Store, row: ContainerRow) -> Iterator[ContainerRow]:
    """Be the only one at work on a container that does not run; gives its row as it is by then.

    Raises:
        FailedPrecondition: another prun is at work on it, or has started it.
        NotFound: another one has removed it.
    """
    ours = own_lease(row.id)
    if not store.metadata.add_lease(ours) and store.metadata.lease(row.id) != ours:
        if store.metadata.container(row.id) is None:
            raise NotFound(f"no such container: {row.name}", hint="another prun has just removed it")
        raise FailedPrecondition(f"container {row.name} is being worked on by another prun", hint="try again")
    try:
        yield store.metadata.container(row.id) or row
    finally:
        if store.metadata.lease(row.id) == ours:
            store.metadata.drop_lease(row.id)
