"""Run again what a lock says, and say what a container, a lock or a spec was made from so that two can be compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prun.errors import FailedPrecondition, NotFound, PrunError
from prun.explained import config_of
from prun.locking import checked_lock, is_lock, normal_spec, read_document
from prun.request.stored import loaded
from prun.spec.normal import normalised_file
from prun.spec.shape import check_shape
from prun.state import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from prun.locking import Lock
    from prun.metadata import ContainerRow
    from prun.plugins import Hooks
    from prun.types import RunRequest


def with_locked_image(request: RunRequest, lock: Lock, hooks: Hooks, *, strict: bool) -> RunRequest:
    """Return the request with the very image of the lock: that of the store, or of the registry.

    Where nobody has it, it is what its name means now, which is a difference.

    Raises:
        NotFound: nobody has it, and ``strict`` does not let another take its place.
    """
    digest, name = lock.document["image"]["digest"], request.image
    if not digest:
        return request
    with Store(request.root, request.state) as store:
        if store.content.has(digest):
            return request._replace(digest=digest)
    by_digest = request._replace(image=f"{_repository(name)}@{digest}")
    try:
        hooks.resolve_image(by_digest, hooks.describe_runtime().platforms[0])
    except PrunError as error:
        if strict:
            raise NotFound(
                f"image {name} of the lock, {digest}, is neither in the store nor can it be fetched",
                evidence=str(error),
                hint="load it, or leave out --strict to take what the name means now",
            ) from error
        return request
    return by_digest._replace(digest=digest, image=name)


def made_from(word: str, store: Store, hooks_of: Callable[[str], Hooks]) -> dict[str, Any]:
    """Return what a container, or a file with a lock or a spec, was made from: what ``locking.compared`` takes.

    A container's name goes before a file's: ``./NAME`` is the file.

    Raises:
        NotFound: there is neither.
        InvalidArgument: the file is neither a lock nor a spec.
    """
    row = _container(word, store)
    if row is not None:
        return _of_container(row, store, hooks_of)
    document = read_document(word)
    if is_lock(document):
        checked_lock(document, word)
        return document
    check_shape(document, f"spec {word!r}")
    return {"spec": normalised_file(document)}  # type: ignore[arg-type]  # its shape has been checked


def _of_container(row: ContainerRow, store: Store, hooks_of: Callable[[str], Hooks]) -> dict[str, Any]:
    """Return the same of a container: its spec while its bundle is there, else the one that a start would have."""
    from prun.pipeline import plan
    from prun.types import RunRequest

    spec: Any = config_of(store.bundle(row.id))
    if spec is None and not row.request:
        raise FailedPrecondition(
            f"container {row.name}: nothing is kept of what it was made from", hint="run it with --lock FILE"
        )
    request = (loaded(row.request) if row.request else RunRequest(""))._replace(
        id=row.id, name=row.name, image=row.image, digest=row.digest, runtime=row.runtime, root=store.root,
        state=store.state,
    )  # fmt: skip
    hooks = hooks_of(row.runtime)
    found: Mapping[str, Any] = {
        "image": {"digest": row.digest},
        "runtime": row.runtime,
        "spec": normal_spec(request, plan(request, hooks) if spec is None else spec),
    }
    return dict(found)


def _container(word: str, store: Store) -> ContainerRow | None:
    if "/" in word:
        return None
    try:
        return store.find(word)
    except NotFound:
        return None


def _repository(name: str) -> str:
    """Return a name without its tag and digest."""
    words = name.partition("@")[0]
    head, colon, tag = words.rpartition(":")
    return head if colon and "/" not in tag else words
