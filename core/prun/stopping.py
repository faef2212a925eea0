"""Bring containers to their end: ``stop``, ``kill``, ``rm``."""

from __future__ import annotations

import os
import signal as signals
import time
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from typing import TYPE_CHECKING, cast

from prun.ending import (
    LIVING,
    RELEASE_S,
    at_work,
    end_task,
    ended_here,
    find_task,
    is_next_run,
    live_task,
    wait_for_end,
)
from prun.errors import FailedPrecondition, NotFound, PluginError, Unavailable, Unimplemented
from prun.record import Record, is_alive, own_lease, remove_bundle
from prun.recovery import recover
from prun.types import EMBEDDED

if TYPE_CHECKING:
    from prun.live import LiveTask
    from prun.metadata import ContainerRow
    from prun.state import Store
    from prun.types import Task

STOP_S = 10.0  # docker's
SETTLE_S = 60.0  # where two hundred end at once
SIGTERM, SIGKILL = 15, 9


def stop(store: Store, row: ContainerRow, timeout_s: float | None = None, signal: int | None = None) -> None:
    """Ask a container to end, and end it when the time is up; one that does not run is no error.

    ``timeout_s`` None is the container's own, else docker's ten seconds; ``signal`` None its stop signal.
    """
    now: ContainerRow | None = row
    if row.restart and row.status not in LIVING:  # it may have ended just now, and be about to wait for its next run
        store.metadata.update_container(row.id, stop_asked=True)
        settle(store, row)
        now = store.metadata.container(row.id)
    while now and now.status in LIVING:  # its restart policy may have been quicker
        store.metadata.update_container(now.id, stop_asked=True)
        if now.status == "restarting":
            _end_restart(store, now)
        else:
            with _cleaned_up(store, now):
                _end_process(store, now, timeout_s, signal)
        settle(store, now)
        now = store.metadata.container(now.id)


def _end_process(store: Store, row: ContainerRow, timeout_s: float | None, signal: int | None) -> None:
    task = find_task(store, row)
    if row.status == "paused":
        _thaw(task)  # what is stopped where it stands could not act on a signal
    task.kill(_signal_of(row) if signal is None else signal)
    wanted = _stop_timeout(row) if timeout_s is None else timeout_s
    if task.wait(None if wanted == float("inf") else wanted) is None:
        task.kill(SIGKILL)
        task.wait(RELEASE_S)


def kill(store: Store, row: ContainerRow, signal: int, *, by_user: bool = True) -> None:
    """Send a signal to the process of a container; after SIGKILL it has ended.

    One that a user has killed is not started again by its restart policy.

    Raises:
        FailedPrecondition: it does not run.
    """
    if row.status == "restarting" and signal == SIGKILL:
        stop(store, row)
        return
    if row.status not in ("running", "paused"):
        raise FailedPrecondition(f"container {row.name} is not running")
    if by_user and signal in (SIGKILL, _signal_of(row)):
        store.metadata.update_container(row.id, stop_asked=True)
    task = find_task(store, row)
    if signal == SIGKILL:
        with _cleaned_up(store, row):
            _send(store, row, task, signal)
            if row.status == "paused":
                _thaw(task)  # cgroup v1 keeps even this signal from what is frozen
            task.wait(RELEASE_S)
        settle(store, row)
        now = store.metadata.container(row.id)
        if by_user and now and now.status == "restarting":
            stop(store, now)  # it had ended by itself, just before
    else:
        _send(store, row, task, signal)


def _send(store: Store, row: ContainerRow, task: Task, signal: int) -> None:
    task.kill(signal)
    store.metadata.add_event("container", "kill", row.id, row.attributes(signal=str(signal)))


def _cleaned_up(store: Store, row: ContainerRow) -> AbstractContextManager[None]:
    """Clean up after the block has ended a container, where that would be its monitor's to call a prun for."""
    return ended_here(Record(store, row)) if row.monitored else nullcontext()


def _thaw(task: Task) -> None:
    """Let a paused container go on, unless it has ended, or goes on, by now."""
    with suppress(Unavailable, FailedPrecondition):
        cast("LiveTask", task).resume()


def pause(store: Store, row: ContainerRow) -> None:
    """Stop every process of a container where it stands.

    Raises:
        FailedPrecondition: it does not run, or is paused already.
    """
    if row.status == "paused":
        raise FailedPrecondition(f"container {row.name} is already paused")
    live_task(store, row).pause()
    _set_paused(store, row, "paused", "pause")


def unpause(store: Store, row: ContainerRow) -> None:
    """Let the processes of a container go on.

    Raises:
        FailedPrecondition: it is not paused.
    """
    if row.status != "paused":
        raise FailedPrecondition(f"container {row.name} is not paused")
    live_task(store, row).resume()
    _set_paused(store, row, "running", "unpause")


def _set_paused(store: Store, row: ContainerRow, status: str, action: str) -> None:
    with store.metadata.transaction():
        now = store.metadata.container(row.id)
        if now is not None and now.status in ("running", "paused"):  # it may have been killed meanwhile
            store.metadata.update_container(row.id, status=status)
            store.metadata.add_event("container", action, row.id, row.attributes())


def settle(store: Store, row: ContainerRow) -> None:
    """Wait until whoever is at work on a container whose process has ended lets go of it; if nobody does, do it.

    What its restart policy does after that is not waited for.

    Raises:
        Unavailable: it takes longer than a minute, or it cannot be taken down.
    """
    deadline = time.monotonic() + SETTLE_S
    while (lease := store.metadata.lease(row.id)) is not None and is_alive(lease) and lease != own_lease(row.id):
        if is_next_run(row, store.metadata.container(row.id)):
            return
        if time.monotonic() > deadline:
            raise Unavailable(f"container {row.name} is still held by another prun", hint="try again")
        time.sleep(0.005)
    sentences = recover(store)
    if (lease := store.metadata.lease(row.id)) is not None and not is_alive(lease):
        raise Unavailable("; ".join(sentences) or f"container {row.name} cannot be taken down")


def remove_container(store: Store, row: ContainerRow, *, volumes: bool = False) -> None:
    """End a container if it runs, and remove it; whoever is at work on it gets the time to let go.

    ``volumes``: its anonymous volumes too.

    Raises:
        Unavailable: its process is gone and its owner does not let go within a minute.
        FailedPrecondition: another prun has just started it.
    """
    deadline = time.monotonic() + RELEASE_S
    with ExitStack() as stack:
        while True:
            now: ContainerRow | None = row
            while now and now.status in LIVING:
                kill_or_end(store, now)
                settle(store, now)
                now = store.metadata.container(row.id)
            settle(store, row)
            if (now := store.metadata.container(row.id)) is None:
                return  # --rm: it is gone by itself
            try:
                row = stack.enter_context(at_work(store, now))
                break
            except FailedPrecondition:  # its restart policy was quicker
                if time.monotonic() > deadline:
                    raise
        record = Record(store, row)
        if row.engine != EMBEDDED:  # its root is not in our snapshots
            end_task(store, row._replace(keep=False))
        remove_bundle(record.bundle)
        record.remove(volumes=volumes)


def kill_or_end(store: Store, row: ContainerRow) -> None:
    """Kill a container's process; where its runtime cannot be reached there is none to be killed."""
    try:
        kill(store, row, SIGKILL)
    except (Unimplemented, NotFound, PluginError):
        return


def _end_restart(store: Store, row: ContainerRow) -> None:
    """Keep a container from being started again: end the process that waits to do so, or has just begun."""
    with store.metadata.transaction():
        now, lease = store.metadata.container(row.id), store.metadata.lease(row.id)
    if now is None or now.status != "restarting" or lease is None or lease == own_lease(row.id):
        return
    try:
        pidfd = os.pidfd_open(lease.pid)
    except ProcessLookupError:
        return
    try:
        if is_alive(lease):
            with suppress(ProcessLookupError):
                signals.pidfd_send_signal(pidfd, SIGKILL)
            wait_for_end(lease.pid, RELEASE_S)
    finally:
        os.close(pidfd)


def _signal_of(row: ContainerRow) -> int:
    from prun.request.lifecycle import signal_number

    return signal_number(row.stop_signal) if row.stop_signal else SIGTERM


def _stop_timeout(row: ContainerRow) -> float:
    from prun.request.stored import loaded

    asked = loaded(row.request).stop_timeout_s if row.request else None
    return STOP_S if asked is None else asked
