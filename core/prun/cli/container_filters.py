"""Which containers a ``--filter`` means: docker's keys, and podman's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from prun.cli.filters import Key, labelled, pattern_in, truth, word_of
from prun.cli.states import STATES, health_of, state_of
from prun.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable

    from prun.metadata import ContainerRow
    from prun.state import Store
    from prun.types import Image

    Fits = Callable[[ContainerRow], bool]

KEYS = (
    *("ancestor", "before", "exited", "health", "id", "is-task", "label", "label!", "name", "network"),
    *("restart-policy", "since", "status", "until", "volume"),
)
_RESTART_POLICIES = ("no", "on-failure", "always", "unless-stopped")


def container_filters(store: Store) -> dict[str, Key[ContainerRow]]:
    """Return the filters by their keys (``KEYS``)."""
    return {
        "ancestor": lambda word: _made_from(store, word),
        "before": lambda word: _made(store, word, lambda at, other: at < other),
        "exited": _exited,
        "health": word_of(health_of, ("starting", "healthy", "unhealthy", "none")),
        "id": _identified,
        "is-task": truth(lambda _: False),  # of a swarm
        "label": labelled(lambda row: row.labels),
        "label!": labelled(lambda row: row.labels, wanted=False),
        "name": _named,
        "network": lambda word: lambda row: network_of(row) == word,
        "restart-policy": word_of(lambda row: row.restart.partition(":")[0] or "no", _RESTART_POLICIES),
        "since": lambda word: _made(store, word, lambda at, other: at > other),
        "status": _in_state,
        "until": made_until,
        "volume": lambda word: _mounting(store, word),
    }


def network_of(row: ContainerRow) -> str:
    """Return the network a container was made with."""
    from prun.cli.inspection import request_of

    return request_of(row).network


def _identified(word: str) -> Fits:
    """Match the beginning of an id; a word that is none is a regular expression, as podman has it."""
    if re.fullmatch("[0-9a-fA-F]+", word):
        return lambda row: row.id.startswith(word.lower())
    key: Key[ContainerRow] = pattern_in(lambda row: row.id)
    return key(word)


def _named(word: str) -> Fits:
    """Match a name as docker does, with or without the slash that it puts before names."""
    keys: list[Key[ContainerRow]] = [pattern_in(lambda row: row.name), pattern_in(lambda row: f"/{row.name}")]
    tests = [key(word) for key in keys]
    return lambda row: any(test(row) for test in tests)


def _in_state(word: str) -> Fits:
    if word not in STATES:
        raise InvalidArgument(f"{word!r} is not one of {', '.join(STATES)}")
    wanted = "exited" if word == "stopped" else word
    return lambda row: state_of(row) == wanted


def _exited(word: str) -> Fits:
    try:
        code = int(word)
    except ValueError as error:
        raise InvalidArgument(f"{word!r} is no exit code") from error
    return lambda row: row.status == "stopped" and row.exit_code == code


def _made(store: Store, word: str, compare: Callable[[float, float], bool]) -> Fits:
    other = store.find(word)
    return lambda row: row.id != other.id and compare(row.created_at, other.created_at)


def made_until(word: str) -> Fits:
    """Match what was made before a point in time."""
    from prun.when import point_ns

    point = point_ns(word) / 10**9
    return lambda row: row.created_at < point


def _mounting(store: Store, word: str) -> Fits:
    """Match the name of a volume, or a path: where something is mounted, or what of the host is."""
    found = {
        mount.container_id
        for mount in store.metadata.all_mounts()
        if word in (mount.name, mount.destination) or (mount.type == "bind" and mount.source == word)
    }
    return lambda row: row.id in found


def _made_from(store: Store, word: str) -> Fits:
    """Match what was made from an image, or from one whose first layers are all of that image's."""
    from prun.engines.embedded import images

    try:
        ancestor = images.find(store, word)
    except NotFound:
        return lambda row: row.image == word
    layers = _layers(images.image_of(store, ancestor))
    known: dict[str, tuple[str, ...]] = {}

    def fits(row: ContainerRow) -> bool:
        if row.digest and row.digest not in known:
            known[row.digest] = _layers(images.pinned(store, row.digest))
        return bool(row.digest) and known[row.digest][: len(layers)] == layers

    return fits


def _layers(image: Image) -> tuple[str, ...]:
    return tuple(layer.diff_id for layer in image.layers)
