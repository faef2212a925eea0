"""Images of the store to registries: which part of an image, under which name, and what is there already."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prun.engines.embedded.images import find, tell
from prun.engines.embedded.pulling import ACCESS, Access, open_registry
from prun.errors import FailedPrecondition, InvalidArgument, PrunError
from prun.image.manifest import blobs, manifests, members, resolve
from prun.image.media_type import INDEXES
from prun.image.reference import parse_reference
from prun.image.registry.endpoint import endpoints
from prun.image.registry.progress import Reporter
from prun.image.registry.push import push
from prun.types import NOTHING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prun.config import Settings
    from prun.image.document import Descriptor
    from prun.image.reference import Reference
    from prun.image.registry.endpoint import Endpoint
    from prun.image.registry.progress import Listener
    from prun.image.registry.settings import Rule
    from prun.metadata import ImageRow
    from prun.state import Store
    from prun.types import Platform


class Pushed(NamedTuple):
    """What a registry has now: the full name, and the digest and size of what that names."""

    name: str
    digest: str
    size_bytes: int


def push_image(
    store: Store,
    words: str,
    settings: Settings,
    *,
    destination: str = "",
    platform: Platform | None = None,
    access: Access = ACCESS,
    listener: Listener | None = None,
) -> Pushed:
    """Send an image, under its own name or ``destination``; of several platforms all, or ``platform`` alone.

    An image of which only one platform is in the store is sent as that one, as docker does; that is said.

    Raises:
        NotFound: there is no such image here.
        InvalidArgument: it has no name to be sent under.
        FailedPrecondition: some of its platforms are not in the store, and more than one is.
        PermissionDenied, Unavailable: the registry does not take it.
    """
    row = find(store, words)
    reference = _destination(destination, store.aliases) if destination else _destination(row.name, NOTHING)
    report = Reporter(listener)
    rules = list(settings.registries.values())
    endpoint = endpoints(reference, rules, tls_verify=access.tls_verify)[-1]
    report("resolved", detail=str(reference))
    target = _target(store, row, platform, report)
    with store.content.ingesting() as ingest:
        ingest.hold(dict.fromkeys(blob["digest"] for blob in blobs(store.content, target)))
        registry = open_registry(endpoint, access, report)
        push(registry, reference.tag, store.content, target, _sources(store, endpoint, rules))
    tell(store, "push", row._replace(name=str(reference)))
    report("done", target["digest"], detail=f"Pushed {reference}")
    return Pushed(str(reference), target["digest"], target["size"])


def _destination(words: str, aliases: Mapping[str, str]) -> Reference:
    words = words.removeprefix("docker://")  # podman's spelling
    if words.startswith("sha256:"):
        raise InvalidArgument(f"image {words} has no name", hint="say where to push it: prun push IMAGE NAME")
    reference = parse_reference(words, aliases)
    if reference.digest:
        raise InvalidArgument(
            f"image {words} is named by a digest, which nothing can be pushed to", hint="prun push IMAGE NAME:TAG"
        )
    return reference


def _target(store: Store, row: ImageRow, platform: Platform | None, report: Reporter) -> Descriptor:
    """Return what to send of an image."""
    content, target = store.content, row.target
    if target["mediaType"] not in INDEXES:
        if platform is not None:
            resolve(content, target, platform, row.name)  # says so if it is for another one
        return target
    everything = [each.descriptor for each in members(content, target)]
    found = [each.descriptor for each in manifests(content, target)]
    if platform is not None:
        digest = resolve(content, target, platform, row.name).digest
        return _plain(next(each for each in found if each["digest"] == digest))
    if all(content.has(each["digest"]) for each in everything):
        return target
    here = {each["digest"]: each for each in found if content.has(each["digest"])}
    if len(here) == 1:
        report(
            "warning",
            detail=f"of {row.name} only one platform is here: pushing that alone, which has a digest of its own",
        )
        return _plain(next(iter(here.values())))
    raise FailedPrecondition(
        f"image {row.name} is not here as a whole: {len(here)} of {len(found)} platforms",
        hint="prun pull --all-platforms fetches the others, prun push --platform sends one",
    )


def _plain(descriptor: Descriptor) -> Descriptor:
    return {"mediaType": descriptor["mediaType"], "digest": descriptor["digest"], "size": descriptor["size"]}


def _sources(store: Store, endpoint: Endpoint, rules: Iterable[Rule]) -> dict[str, list[str]]:
    """Return the other repositories of the registry that blobs came from or went to, by digest."""
    found: dict[str, list[str]] = {}
    for row in store.metadata.images():
        try:
            own = endpoints(parse_reference(row.name), rules)[-1]
            if own.host != endpoint.host or own.repository == endpoint.repository:
                continue
            for blob in blobs(store.content, row.target):
                found.setdefault(blob["digest"], []).append(own.repository)
        except PrunError:
            continue  # it has no name, or is blocked or damaged: then nothing is mounted from there
    return found
