"""Which containerd, and what of it: the address of its socket, a namespace, a snapshotter.

Everything has the spelling of ``ctr``, its environment variables included.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

from prun.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_ADDRESS = "/run/containerd/containerd.sock"
DEFAULT_NAMESPACE = "default"
VARIABLES = {
    "address": "CONTAINERD_ADDRESS",
    "namespace": "CONTAINERD_NAMESPACE",
    "snapshotter": "CONTAINERD_SNAPSHOTTER",
}

_IDENTIFIER = re.compile(r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*")
_IDENTIFIER_LENGTH = 76


class Place(NamedTuple):
    """``address`` is the path of the socket; an empty ``snapshotter`` is the namespace's own, or overlayfs."""

    address: str = DEFAULT_ADDRESS
    namespace: str = DEFAULT_NAMESPACE
    snapshotter: str = ""


def settled(options: Mapping[str, str]) -> dict[str, str]:
    """Return the engine's options with what the environment says of those that are not given.

    Raises:
        InvalidArgument: an option is none of this engine's, or cannot be used.
    """
    words = {name: options.get(name, "") or os.environ.get(variable, "") for name, variable in VARIABLES.items()}
    place_of({**options, **words})
    return {name: word for name, word in words.items() if word}


def place_of(options: Mapping[str, str]) -> Place:
    """Return the place that the engine's options name.

    Raises:
        InvalidArgument: an option is none of this engine's, or cannot be used.
    """
    for key in options:
        if key not in VARIABLES:
            raise InvalidArgument(f"engine containerd has no option {key!r}", hint=f"it knows: {', '.join(VARIABLES)}")
    place = Place(**{key: word for key, word in options.items() if word})
    path = re.sub("^unix:(//)?(?=/)", "", place.address)
    if not path.startswith("/"):
        raise InvalidArgument(
            f"containerd address {place.address!r} is no path of a socket", hint="as /run/containerd/containerd.sock"
        )
    check_identifier(place.namespace, "containerd namespace")
    return place._replace(address=path)


def check_identifier(word: str, what: str) -> None:
    """Refuse a name that containerd would not take.

    Raises:
        InvalidArgument: it would not.
    """
    if len(word) > _IDENTIFIER_LENGTH or not _IDENTIFIER.fullmatch(word):
        raise InvalidArgument(
            f"{what} {word!r} is not usable",
            hint=f"at most {_IDENTIFIER_LENGTH} letters and digits, with single '.', '_' or '-' between them",
        )
