"""Whether a signature is about the image that is wanted: ``signedIdentity`` of a policy.

See containers-policy.json(5).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from prun.errors import InvalidArgument
from prun.image.fields import as_object, as_string
from prun.image.reference import DOMAIN, PATH, parse_reference

if TYPE_CHECKING:
    from prun.image.reference import Reference

# What each kind has to say, beside its type.
KINDS: dict[str, tuple[str, ...]] = {
    "matchExact": (),
    "matchRepoDigestOrExact": (),
    "matchRepository": (),
    "exactReference": ("dockerReference",),
    "exactRepository": ("dockerRepository",),
    "remapIdentity": ("prefix", "signedPrefix"),
}
COSIGN_HINT = (
    "cosign signs a repository, whatever the tag: a rule for what it signed needs "
    '"signedIdentity": {"type": "matchRepository"}'
)


class SignedIdentity(NamedTuple):
    """One of KINDS, and what it says, in their order."""

    kind: str = "matchRepoDigestOrExact"
    words: tuple[str, ...] = ()


def parse_identity(value: object, where: str) -> SignedIdentity:
    """Return the ``signedIdentity`` of a rule.

    Raises:
        InvalidArgument: it is none; the message says where.
    """
    table = as_object(value, where)
    kind = as_string(table.get("type"), f"{where}.type")
    if kind not in KINDS:
        raise InvalidArgument(f"{where}.type is {kind[:100]!r}", hint=f"one of {', '.join(KINDS)}")
    for key in table:
        if key not in ("type", *KINDS[kind]):
            raise InvalidArgument(f"{where} has no key {key[:100]!r} for {kind}")
    words = tuple(as_string(table.get(key), f"{where}.{key}") for key in KINDS[kind])
    for key, word in zip(KINDS[kind], words, strict=True):
        if not _fits_key(key, word):
            raise InvalidArgument(f"{where}.{key} is {word[:200]!r}, which is no {_MEANT[key]}")
    return SignedIdentity(kind, words)


_MEANT = {
    "dockerReference": "reference with a tag or a digest",
    "dockerRepository": "repository, without tag and digest",
    "prefix": "HOST[:PORT][/PATH]",
    "signedPrefix": "HOST[:PORT][/PATH]",
}


def _fits_key(key: str, word: str) -> bool:
    if key.lower().endswith("prefix"):
        return re.fullmatch(f"{DOMAIN}(?:/{PATH})?", word) is not None
    try:
        parse_reference(word)
    except InvalidArgument:
        return False
    return _is_name_only(word) == (key == "dockerRepository")


def mismatch(identity: SignedIdentity, wanted: Reference | None, signed: str) -> str:
    """Return why a signature that names ``signed`` is not for the image ``wanted``, empty where it is.

    ``wanted`` None: the image has no name.
    """
    try:
        theirs = parse_reference(signed)
    except InvalidArgument:
        return f"it is for {signed[:200]!r}, which is no reference"
    name_only = _is_name_only(signed)
    shown = _name(theirs) if name_only else str(theirs)
    if identity.kind == "exactReference":
        ours = parse_reference(identity.words[0])
        return "" if ours == theirs and not name_only else f"it is for {shown}, not for {ours}"
    if identity.kind == "exactRepository":
        name = _name(parse_reference(identity.words[0]))
        return "" if name == _name(theirs) else f"it is for {shown}, not for {name}"
    if wanted is None:
        return f"it is for {shown}, and this image has no name; {identity.kind} compares names"
    if identity.kind == "remapIdentity":
        remapped = _remapped(wanted, *identity.words)
        if remapped is None:
            return f"it is for {shown}, and {wanted} is no name once its prefix is replaced"
        wanted = remapped
    if identity.kind == "matchRepository":
        fits = _name(theirs) == _name(wanted)
    elif wanted.digest and identity.kind != "matchExact":
        fits = not name_only and _name(theirs) == _name(wanted)
    else:
        fits = not name_only and theirs == wanted
    return "" if fits else f"it is for {shown}, not for {wanted}"


def _remapped(wanted: Reference, prefix: str, signed_prefix: str) -> Reference | None:
    """Replace a prefix that fits whole parts of a name; None where the result is no name."""
    name = _name(wanted)
    if name != prefix and not name.startswith(f"{prefix}/"):
        return wanted
    text = signed_prefix + str(wanted)[len(prefix) :]
    try:
        found = parse_reference(text)
    except InvalidArgument:
        return None
    return found if str(found) == text else None  # not one of docker.io that only looks like a host


def _name(reference: Reference) -> str:
    return f"{reference.domain}/{reference.path}"


def _is_name_only(text: str) -> bool:
    """Tell whether a reference has neither a tag nor a digest, as it is written."""
    return "@" not in text and ":" not in text.rpartition("/")[2]
