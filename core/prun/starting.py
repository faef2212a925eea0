"""Containers that are there already: the request to start one again, what it gives when it ends, its streams."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prun.ending import LIVING, find_task, live_task
from prun.errors import FailedPrecondition, NotFound, PluginError, Unimplemented
from prun.record import UNKNOWN_CODE, is_alive
from prun.request.stored import loaded
from prun.stopping import settle

if TYPE_CHECKING:
    from prun.metadata import ContainerRow
    from prun.signals import ForwardedSignals
    from prun.state import Store
    from prun.types import RunRequest


def stored_request(store: Store, row: ContainerRow) -> RunRequest:
    """Return the request to start a container again as it was made: with its name of today, and its own image.

    Raises:
        FailedPrecondition: it runs, or was run by a prun of which nothing but its end is known.
    """
    if row.status in LIVING:
        raise FailedPrecondition(f"container {row.name} is {row.status}")
    if not row.request:
        raise FailedPrecondition(
            f"container {row.name} cannot be started again: runtime {row.runtime} does not keep what it was made from",
            hint="run it anew",
        )
    return loaded(row.request)._replace(
        id=row.id, name=row.name, image=row.image, digest=row.digest, runtime=row.runtime, again=True, detach=False,
        root=store.root, state=store.state,
    )  # fmt: skip


def wait(store: Store, row: ContainerRow) -> int:
    """Wait until a container does not run any more, and return its exit code; 0 of one that never ran.

    Of one that removes itself, it is what the events say.
    """
    if row.status in ("running", "paused"):
        try:
            find_task(store, row).wait()
        except (Unimplemented, NotFound, PluginError):  # nothing of it is within our reach but its record
            while _is_held(store, row.id):
                time.sleep(0.05)
        settle(store, row)  # whoever is at work on it writes down how it ended, a moment later
    now = store.metadata.container(row.id)
    if now is not None and now.status not in ("running", "paused"):  # by its policy, it may run again
        return now.exit_code or 0
    event = store.metadata.last_event(row.id, "die")
    return int(event.attributes.get("exitCode", UNKNOWN_CODE)) if event else UNKNOWN_CODE


def attach(
    store: Store,
    row: ContainerRow,
    *,
    stdin: bool = True,
    detach_keys: str | None = None,
    signals: ForwardedSignals | None = None,
) -> int | None:
    """Carry between a container's streams and ours until it ends; returns its exit code, None when the caller leaves.

    ``signals``, already entered, are passed on to it.

    Raises:
        FailedPrecondition: it does not run, or its streams are those of the prun that runs it.
    """
    from prun.carrying import Caller, carry, write_to_own
    from prun.request.lifecycle import DETACH_KEYS, key_codes

    if row.status == "paused":
        raise FailedPrecondition(f"container {row.name} is paused", hint=f"prun unpause {row.name}")
    task = live_task(store, row)
    made = loaded(row.request) if row.request else None
    codes = key_codes(DETACH_KEYS if detach_keys is None else detach_keys)
    terminal = bool(made and made.terminal)
    with task.attach() as attachment:
        store.metadata.add_event("container", "attach", row.id, row.attributes())
        if signals is not None:
            signals.hold()
            signals.to(task)
        wanted = 0 if stdin and made and made.interactive else None
        if not carry(attachment, Caller(wanted, write_to_own, terminal, codes if terminal else b"")):
            store.metadata.add_event("container", "detach", row.id, row.attributes())
            return None
    return wait(store, row)


def _is_held(store: Store, container_id: str) -> bool:
    lease = store.metadata.lease(container_id)
    return lease is not None and is_alive(lease)
