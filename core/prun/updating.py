"""Change what a container may use, and its restart policy: while it runs, and for its next start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prun.errors import FailedPrecondition, InvalidArgument
from prun.request import one
from prun.request.resources import Resources, fields

if TYPE_CHECKING:
    from prun.metadata import ContainerRow
    from prun.request import Asked
    from prun.state import Store

# What is checked together: of an option that is given, the others' values of before count.
_TOGETHER = (
    {"memory": "memory_bytes", "memory_swap": "memory_swap_bytes", "memory_reservation": "memory_reservation_bytes"},
    {"cpus": "cpus", "cpu_quota": "cpu_quota_us", "cpu_period": "cpu_period_us"},
)
OPTIONS = (
    *("blkio_weight", "cpu_period", "cpu_quota", "cpu_shares", "cpus", "cpuset_cpus", "cpuset_mems", "memory"),
    *("memory_reservation", "memory_swap", "pids_limit", "restart"),
)


def update(store: Store, row: ContainerRow, asked: Asked) -> None:
    """Change a container by options of ``run``; of one that runs, its cgroup at once: both, or nothing.

    Raises:
        InvalidArgument: a value cannot be used, or not with what the container has.
        FailedPrecondition: this machine, or the container, cannot have it.
        Unavailable: the OCI runtime could not.
    """
    from prun.ending import live_task
    from prun.request.stored import dumped, loaded
    from prun.request.supervision import restart_policy

    if not row.request and row.status not in ("running", "paused"):
        raise FailedPrecondition(f"container {row.name} cannot be updated: it is not known what it was made from")
    limits = {name: words for name, words in asked.items() if name != "restart"}
    with store.metadata.transaction():
        now = store.metadata.container(row.id) or row
        request = loaded(now.request) if now.request else None
        columns: dict[str, object] = {}
        if "restart" in asked:
            policy = restart_policy(one(asked, "restart"))
            if policy and not now.keep:
                raise FailedPrecondition(
                    f"the restart policy of container {row.name} cannot be updated: it is removed when it ends (--rm)"
                )
            if request is None or (policy and not now.monitored):
                raise FailedPrecondition(f"container {row.name} has no monitor, which would restart it")
            request = request._replace(restart=policy)
            columns["restart"] = policy
        if limits:
            before = (request.resources if request else None) or Resources()
            after = merged(before, limits)
            if now.status in ("running", "paused"):
                live_task(store, now).update(after)
            request = request and request._replace(resources=after)
        if request is not None:
            columns["request"] = dumped(request)
        if columns:
            store.metadata.update_container(row.id, **columns)
        what = now.attributes()
        store.metadata.add_event("container", "update", row.id, what)


def merged(before: Resources, asked: Asked) -> Resources:
    """Return limits with those that were asked for in place of those that were; 0 changes nothing, as docker has it.

    Raises:
        InvalidArgument: a value cannot be used, or not with those that stay.
    """
    if before.memory_swap_bytes > 0 and "memory" in asked and "memory_swap" not in asked:
        from prun.request.sizes import size_of

        if size_of("--memory", one(asked, "memory")) > before.memory_swap_bytes:
            raise InvalidArgument(
                "memory limit should be smaller than already set memoryswap limit",
                hint="update --memory-swap at the same time",
            )
    words = dict(asked)
    for group in _TOGETHER:
        if not group.keys().isdisjoint(asked):
            words = {**{name: _word(getattr(before, field)) for name, field in group.items()}, **words}
    words = {name: word for name, word in words.items() if word != "0" or name.startswith("cpuset")}
    found = fields(words)["resources"] or Resources()
    assert isinstance(found, Resources)
    changed = {name: value for name, value in found._asdict().items() if value != Resources._field_defaults[name]}
    return before._replace(**changed)


def _word(value: float) -> str:
    return f"{value:.20f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
