"""An image comes in, or is refused: by which rule, with which key, and why."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, NamedTuple

from prun.errors import DataLoss, InvalidArgument, NotFound, PermissionDenied, ResourceExhausted
from prun.image.signing.identity import COSIGN_HINT, mismatch
from prun.image.signing.keys import is_signed_by, load_key
from prun.image.signing.payload import MAX_PAYLOAD_BYTES, SIGNATURE_ANNOTATION, SIMPLE_SIGNING, parse_payload

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

    from prun.image.reference import Reference
    from prun.image.signing.claims import Claim, Claims
    from prun.image.signing.policy import Policy, Requirement

_MAX_SIGNATURE = 8 << 10
_SHOWN_REASONS = 3


class Candidate(NamedTuple):
    """An image that wants to come in.

    ``digests``: a signature of any of these is one of the image; none where nobody can have signed it.  ``names``:
    those that it is to have, None for none at all.  ``is_signature``: it is nothing but signatures, which nobody signs.
    """

    shown: str
    transport: str
    scopes: Sequence[str]
    digests: Sequence[str]
    names: Sequence[Reference | None]
    is_signature: bool = False


def admit(policy: Policy, candidate: Candidate, claims: Claims) -> None:
    """Check that an image is what the policy requires.

    Raises:
        PermissionDenied: it is not; the message has rule, key and reason.
        NotFound, InvalidArgument: a key of the policy cannot be used.
    """
    for requirement in policy.requirements(candidate.transport, candidate.scopes):
        if requirement.type == "insecureAcceptAnything":
            continue
        if requirement.type == "reject":
            raise PermissionDenied(
                f"{candidate.shown} is refused: {requirement.where} rejects it",
                hint=f"a rule for it in {policy.path} would let it in",
            )
        if candidate.is_signature:
            continue
        if requirement.unsupported:
            raise PermissionDenied(
                f"{candidate.shown} is refused: prun cannot check {requirement.unsupported} ({requirement.where})",
                hint="it can check sigstoreSigned with keyPath, keyPaths, keyData or keyDatas",
            )
        for name in candidate.names:
            _check_signed(requirement, candidate, name, claims)


def _check_signed(requirement: Requirement, candidate: Candidate, name: Reference | None, claims: Claims) -> None:
    """Find one signature that fulfils a requirement."""
    keys = [load_key(key) for key in requirement.keys]
    reasons: list[str] = []
    hint = "have it signed: cosign sign --key KEY NAME@DIGEST"
    for digest in candidate.digests:
        for reason in _faults(requirement, keys, digest, name, claims):
            if not reason:
                return
            reasons.append(reason)
            if "not for" in reason and requirement.identity.kind != "matchRepository":
                hint = COSIGN_HINT
    named = ", ".join(map(str, requirement.keys))
    why = "; ".join(reasons[:_SHOWN_REASONS]) or "there is no signature of it"
    more = f"; and {len(reasons) - _SHOWN_REASONS} more" if len(reasons) > _SHOWN_REASONS else ""
    raise PermissionDenied(f"{candidate.shown} is refused by {requirement.where} ({named}): {why}{more}", hint=hint)


def _faults(
    requirement: Requirement, keys: Sequence[PublicKeyTypes], digest: str, name: Reference | None, claims: Claims
) -> Iterator[str]:
    """Yield why each signature of a digest is not good enough, empty for one that is."""
    try:
        for claim in claims(digest):
            try:
                reason = _fault(requirement, keys, digest, name, claim)
            except (NotFound, InvalidArgument, DataLoss, ResourceExhausted) as error:
                reason = str(error)
            yield f"signature {claim.origin}: {reason}" if reason else ""
    except (NotFound, InvalidArgument, DataLoss, ResourceExhausted) as error:
        yield f"its signatures cannot be read: {error}"


def _fault(
    requirement: Requirement, keys: Sequence[PublicKeyTypes], digest: str, name: Reference | None, claim: Claim
) -> str:
    """Return why a signature is not good enough; what it says is looked at once it is known who says it."""
    layer = claim.layer
    if layer["mediaType"] != SIMPLE_SIGNING:
        return f"media type {layer['mediaType'][:200]!r} is none of a signature"
    encoded = layer.get("annotations", {}).get(SIGNATURE_ANNOTATION, "")
    if len(encoded) > _MAX_SIGNATURE:
        return f"has {len(encoded)} characters"
    try:
        signature = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        signature = b""
    if not signature:
        return f"the annotation {SIGNATURE_ANNOTATION} is missing, or is not base64"
    if layer["size"] > MAX_PAYLOAD_BYTES:
        return f"payload of {layer['size']} bytes; {MAX_PAYLOAD_BYTES} is the limit"
    data = claim.read()
    if not any(is_signed_by(key, signature, data) for key in keys):
        return "is not of this key" if len(keys) == 1 else "is of none of these keys"
    payload = parse_payload(data)
    if payload.digest != digest:
        return f"is of another image, {payload.digest}"
    return mismatch(requirement.identity, name, payload.reference)
