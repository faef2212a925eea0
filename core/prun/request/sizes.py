"""Sizes as docker and podman write them: ``512m``, ``1.5g``, ``64KiB``."""

from __future__ import annotations

import re

from prun.errors import InvalidArgument

_SIZE = re.compile(r"(\d{1,20}(?:\.\d{1,20})?|\.\d{1,20}) ?(?:([kmgtp])(?:i?b)?|b)?", re.ASCII | re.IGNORECASE)
_FACTORS = {unit: 1024**power for power, unit in enumerate(("", "k", "m", "g", "t", "p"))}
_MAX = 2**63 - 1


def size_of(option: str, word: str) -> int:
    """Return a size in bytes: a whole or decimal number and ``b|k|m|g|t|p``, ``kb`` or ``KiB``, in any case.

    The base is 1024 for all of them; a bare number is bytes; a fraction of a byte is dropped.  ``option`` is for the
    message (``--memory``, ``tmpfs-size``).

    Raises:
        InvalidArgument: it is no size, or over 2**63 - 1 bytes.
    """
    match = _SIZE.fullmatch(word)
    if match is None:
        raise InvalidArgument(
            f"{option} {word!r} is not a size", hint="a number and b, k, m, g, t or p, as in 512m or 1.5g"
        )
    number, unit = match.groups(default="")
    factor = _FACTORS[unit.lower()]
    # A float has 53 bits: a whole number is kept exact.
    size = int(number) * factor if number.isdigit() else int(float(number) * factor)
    if size > _MAX:
        raise InvalidArgument(f"{option} {word!r} is over {_MAX} bytes")
    return size
