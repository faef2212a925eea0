"""Which images may come in: those that the signature policy lets pass, wherever they come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prun.image.manifest import parse_manifest, read_document
from prun.image.media_type import MANIFESTS
from prun.image.reference import parse_reference
from prun.image.signing import claims
from prun.image.signing.guard import Candidate, admit
from prun.image.signing.policy import docker_scopes, path_scopes, read_policy
from prun.image.source import STDIN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prun.image.document import Descriptor
    from prun.image.reference import Reference
    from prun.image.registry.client import Registry
    from prun.image.registry.pull import Admit as AdmitFromRegistry
    from prun.image.source import Source
    from prun.image.staging import Admit, Layout


def of_registry(path: str, reference: Reference) -> AdmitFromRegistry:
    """Return what is asked of an image that a registry gives under a name; ``path`` is that of the policy.

    A signature of an index is one of all that is in it; of one platform alone, that of its manifest will do.

    Raises:
        NotFound, PermissionDenied, InvalidArgument: the policy cannot be used.
    """
    policy = read_policy(path)

    def check(registry: Registry, target: Descriptor, data: bytes, wanted: str) -> None:
        candidate = Candidate(
            f"image {reference}",
            "docker",
            tuple(docker_scopes(reference)),
            tuple(dict.fromkeys((target["digest"], wanted))),
            (reference,),
            _is_signature(target, data),
        )
        admit(policy, candidate, claims.of_registry(registry))

    return check


def of_source(path: str, source: Source, name: str) -> Admit:
    """Return what is asked of an image of an archive or a layout; ``name``: what it will be called, empty as it says.

    Its signatures have to be in there, too, under the tag that cosign gives them: ``prun save app app:sha256-....sig``.

    Raises:
        NotFound, PermissionDenied, InvalidArgument: the policy cannot be used.
    """
    policy = read_policy(path)
    scopes = tuple(path_scopes("" if source.path == STDIN else source.path, source.tag))

    def check(form: str, names: Sequence[str], target: Descriptor | None, content: Layout | None) -> None:
        called = [name] if name else names
        transport = "oci" if source.kind == "oci" else "docker-archive" if form == "docker-archive" else "oci-archive"
        shown, references = (
            f"image {', '.join(called) or '<none>'} of {source}",
            [parse_reference(each) for each in called],
        )
        candidate = Candidate(shown, transport, scopes, (), references or [None])
        if target is None or content is None:
            admit(policy, candidate, claims.none)
            return
        is_signature = _is_signature(target, read_document(content, target))
        candidate = candidate._replace(digests=(target["digest"],), is_signature=is_signature)
        admit(policy, candidate, claims.of_layout(content, content.entries))

    return check


def _is_signature(target: Descriptor, data: bytes) -> bool:
    return target["mediaType"] in MANIFESTS and claims.holds_signatures_alone(parse_manifest(data, target["mediaType"]))
