"""How the spec of a container that is there came to be: as was written down, or rebuilt from what it was made of."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from prun.errors import FailedPrecondition, NotFound
from prun.explaining import kept
from prun.spec.difference import differences
from prun.spec.provenance import ABSENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prun.metadata import ContainerRow
    from prun.plugins import Hooks
    from prun.spec.provenance import Explanation
    from prun.state import Store


class Explained(NamedTuple):
    """The explanation of container ``id``.

    ``recorded``: written down when the container was made (``--explain``).  Where it was not, it is what the plugins
    and the settings of now make of the same request and the same image; ``compared``: with the container's config.json,
    and ``differences`` are (pointer, value now, value there), a side that is absent as None.
    """

    id: str
    explanation: Explanation
    recorded: bool
    compared: bool = False
    differences: tuple[tuple[str, Any, Any], ...] = ()


def explained(store: Store, row: ContainerRow, hooks_of: Callable[[str], Hooks]) -> Explained:
    """Return why the spec of a container is as it is; ``hooks_of`` loads the plugins for a runtime.

    Raises:
        FailedPrecondition: it was not written down, and what the container was made of is not kept.
    """
    if found := kept(store.directory(row.id)):
        return Explained(row.id, found, recorded=True)
    if not row.request:
        raise FailedPrecondition(
            f"container {row.name} cannot be explained: it was made without --explain, and is not one that is kept",
            hint="run it with --explain; prun spec --explain says it of a run that is not made",
        )
    from prun.pipeline import explain
    from prun.request.stored import loaded

    request = loaded(row.request)._replace(
        id=row.id, name=row.name, image=row.image, digest=row.digest, runtime=row.runtime, root=store.root,
        state=store.state,
    )  # fmt: skip
    explanation = explain(request, hooks_of(row.runtime))
    there = config_of(store.bundle(row.id))
    differences = () if there is None else tuple(_absent_as_none(explanation.spec, there))
    return Explained(row.id, explanation, False, there is not None, differences)


def last_container(store: Store) -> ContainerRow:
    """Return the container that was made last.

    Raises:
        NotFound: there is none.
    """
    rows = store.metadata.containers()
    if not rows:
        raise NotFound("there is no container", hint="one that was run with --rm is gone when it has ended")
    return max(rows, key=lambda row: row.created_at)


def config_of(bundle: str) -> Any:
    """Return the spec that the OCI runtime was given, None where it is gone."""
    try:
        with open(os.path.join(bundle, "config.json"), encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def _absent_as_none(now: Any, there: Any) -> Iterator[tuple[str, Any, Any]]:
    for pointer, ours, theirs in differences(now, there):
        yield pointer, None if ours is ABSENT else ours, None if theirs is ABSENT else theirs
