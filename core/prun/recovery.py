"""Do what a killed process could not: end its containers, undo its mounts, remove its traces."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from prun import state
from prun.errors import NotFound, PluginError, PrunError, Unavailable, Unimplemented
from prun.types import Container

if TYPE_CHECKING:
    from prun.metadata import ContainerRow
    from prun.state import Store
    from prun.types import Task

RELEASE_S = 10.0


def recover(store: Store) -> list[str]:
    """End every container whose owner is dead, and say in a sentence each what was done.

    Two processes may do this at the same time: whoever takes over the lease does it.
    """
    done: list[str] = []
    dead = [lease for lease in store.metadata.leases() if not state.is_alive(lease)]
    if not dead:
        return done
    rows = {row.id: row for row in store.metadata.containers()}
    for lease in dead:
        if lease.container_id in rows and store.metadata.take_lease(lease, state.own_lease(lease.container_id)):
            row = rows[lease.container_id]
            end_task(store, row)
            record = state.Record(store, row)
            record.end()
            fate = "kept, stopped" if row.keep and row.status != "created" else "removed"
            done.append(f"container {row.name}: its prun (pid {lease.pid}) is gone; ended and {fate}")
    return done


def find_task(store: Store, row: ContainerRow) -> Task:
    """Return the task of a container that another process made.

    Raises:
        Unimplemented: the runtime's tasks end with the process that made them.
        NotFound, PluginError: the runtime was uninstalled or does not load.
    """
    from prun.plugins import load

    container = Container(row.id, row.runtime, store.bundle(row.id), store.root, store.state, row.pid, row.options)
    return load(row.runtime, only=[]).load_task(container)


def end_task(store: Store, row: ContainerRow) -> None:
    """End what still runs of a container and let its runtime forget it."""
    try:
        find_task(store, row).delete()
    except (Unimplemented, NotFound, PluginError):
        return  # nothing can be left, or nothing can be reached: the next command must work all the same


def remove_container(store: Store, row: ContainerRow, *, volumes: bool = False) -> None:
    """End a container if it runs, and remove it; whoever is at work on it gets the time to let go.

    ``volumes``: its anonymous volumes too.

    Raises:
        Unavailable: its process is gone and its owner does not let go within ten seconds.
    """
    if row.status != "stopped":
        end_task(store, row)
    deadline = time.monotonic() + RELEASE_S
    while any(lease.container_id == row.id and state.is_alive(lease) for lease in store.metadata.leases()):
        if time.monotonic() > deadline:
            raise Unavailable(f"container {row.name} is still held by another prun", hint="try again")
        time.sleep(0.01)
    record = state.Record(store, row)
    state.remove_bundle(record.bundle)
    record.remove(volumes=volumes)


def clear_leftovers(store: Store) -> list[str]:
    """Remove what dead processes left in the store and in the state directory, and say what it was.

    Raises:
        PrunError: something could not be removed.
    """
    from prun.engines.embedded.garbage import collect_garbage
    from prun.image.partial import forget_partials

    done = recover(store)
    with store.removing_images():
        done += [f"blob {digest}, which no image needs: removed" for digest in collect_garbage(store)]
        done += [f"half-written blob {name}: removed" for name in store.content.clear_leftovers()]
        done += [f"blob {name}, which is fetched no further: removed" for name in forget_partials(store.content)]
        done += [f"snapshot {name}: removed" for name in store.snapshots.clear_leftovers()]
        known = {row.id for row in store.metadata.containers()}
        for key in store.snapshots.keys():  # noqa: SIM118  a method, not a mapping
            if state.owner_of(key) not in known:
                store.snapshots.remove(key)
                done.append(f"writable layer of {key[:12]}, which is no container: removed")
        for container_id in _listed(os.path.join(store.state, "bundles")):
            if container_id not in known:
                state.remove_bundle(store.bundle(container_id))
                done.append(f"bundle of {container_id[:12]}, which is no container: removed")
    return done + store.volumes.clear_leftovers()


def _listed(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise PrunError(f"directory {path} cannot be read: {error.strerror}") from error
