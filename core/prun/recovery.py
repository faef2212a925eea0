"""Do what a killed process could not: end its containers, undo its mounts, remove its traces."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prun.ending import end_task, finish, finish_and_restart, has_ended, take
from prun.errors import PrunError
from prun.identity import boot_id
from prun.metadata import Lease
from prun.record import Record, is_alive, own_lease, owner_of, remove_bundle
from prun.sessions import end_strays

if TYPE_CHECKING:
    from prun.metadata import ContainerRow
    from prun.state import Store


def recover(store: Store) -> list[str]:
    """End every container whose owner is dead, and say in a sentence each what was done.

    A container that only has lost its monitor lives on as long as its process does.  Two processes may do this at the
    same time: whoever takes over the lease does it.
    """
    dead = [lease for lease in store.metadata.leases() if not is_alive(lease)]
    sentences = [_recovered(store, lease.container_id, lease) for lease in dead]
    sentences += [_recovered(store, container_id, None) for container_id in store.metadata.unattended()]
    sentences += end_strays(store)
    if dead:  # one of them may have been unpacking an image, or removing a writable layer
        sentences += _without_half_snapshots(store)
    return [sentence for sentence in sentences if sentence]


def _recovered(store: Store, container_id: str, lease: Lease | None) -> str:
    row = take(store, container_id, lease)
    if row is None:
        return ""
    try:
        return _cleared(store, row, lease)
    except PrunError as error:  # of one container, which must not keep the command from all the others
        if lease is None or not store.metadata.take_lease(own_lease(row.id), lease):
            store.metadata.drop_lease(row.id)
        return f"container {row.name}: cannot be taken down: {error}"


def _cleared(store: Store, row: ContainerRow, lease: Lease | None) -> str:
    if row.monitored and row.status in ("running", "paused"):
        return _without_monitor(store, row, lease)
    end_task(store, row)
    Record(store, row).end()
    fate = "removed" if store.metadata.container(row.id) is None else "kept"
    if row.status in ("running", "paused"):
        fate = f"ended and {fate}"
    return f"container {row.name}: its prun (pid {lease.pid if lease else 'unknown'}) is gone; {fate}"


def _without_monitor(store: Store, row: ContainerRow, lease: Lease | None) -> str:
    """Look after a container whose monitor is gone: killed, or with the machine that was restarted.

    As long as its process lives, that has the lease: when it ends, somebody has to see it.
    """
    if lease and lease.boot_id != boot_id():
        finish(store, row, error="the machine was restarted: how it ended is not known")
        return f"container {row.name}: the machine was restarted while it ran"
    if not has_ended(store, row):
        alive = Lease(row.id, boot_id(), row.pid or 0, row.start_time)
        store.metadata.take_lease(own_lease(row.id), alive)
        return ""
    finish_and_restart(store, row, error="its monitor was killed: how it ended is not known")
    return f"container {row.name}: its monitor is gone, and its process has ended"


def _without_half_snapshots(store: Store) -> list[str]:
    return [f"snapshot {name}: removed" for name in store.snapshots.clear_leftovers()]


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
        done += _without_half_snapshots(store)
        known = {row.id for row in store.metadata.containers()}
        for key in store.snapshots.keys():  # noqa: SIM118  a method, not a mapping
            if owner_of(key) not in known:
                store.snapshots.remove(key)
                done.append(f"writable layer of {key[:12]}, which is no container: removed")
        for container_id in _listed(os.path.join(store.state, "bundles")):
            if container_id not in known:
                remove_bundle(store.bundle(container_id))
                done.append(f"bundle of {container_id[:12]}, which is no container: removed")
    return done + store.volumes.clear_leftovers()


def _listed(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise PrunError(f"directory {path} cannot be read: {error.strerror}") from error
