"""What cosign signs: a JSON document that names a manifest's digest and a repository.

Read as strictly as containers/image does: what is not understood is not agreed to.

Spec: https://github.com/sigstore/cosign/blob/v2.4.1/specs/SIGNATURE_SPEC.md#payloads
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prun.errors import InvalidArgument
from prun.image.digest import parse_digest
from prun.image.fields import as_object, as_string, load_object

if TYPE_CHECKING:
    from typing import Any

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE_ANNOTATION = "dev.cosignproject.cosign/signature"
TYPE = "cosign container image signature"
MAX_PAYLOAD_BYTES = 128 << 10


class Payload(NamedTuple):
    """The digest of a manifest, and the reference that it is signed as."""

    digest: str
    reference: str


def parse_payload(data: bytes) -> Payload:
    """Return what a payload says.

    Raises:
        InvalidArgument: it is no payload of cosign's, or says more than is understood here.
    """
    document = load_object(data, "payload")
    _exactly(document, ("critical",), "payload", ("optional",))
    critical = as_object(document["critical"], "payload's critical")
    _exactly(critical, ("identity", "image", "type"), "payload's critical")
    if critical["type"] != TYPE:
        raise InvalidArgument(f"payload's critical.type is {str(critical['type'])[:100]!r}, not {TYPE!r}")
    image = as_object(critical["image"], "payload's critical.image")
    identity = as_object(critical["identity"], "payload's critical.identity")
    _exactly(image, ("docker-manifest-digest",), "payload's critical.image")
    _exactly(identity, ("docker-reference",), "payload's critical.identity")
    return Payload(
        parse_digest(as_string(image["docker-manifest-digest"], "payload's docker-manifest-digest")),
        as_string(identity["docker-reference"], "payload's docker-reference"),
    )


def _exactly(table: dict[str, Any], needed: tuple[str, ...], what: str, optional: tuple[str, ...] = ()) -> None:
    for key in needed:
        if key not in table:
            raise InvalidArgument(f"{what} has no {key!r}")
    for key in table:
        if key not in needed + optional:
            raise InvalidArgument(f"{what} has an unknown key {key[:100]!r}")
