"""Sources: the words for an image that lies in a file or a directory, and not under a name in the store."""

from __future__ import annotations

import os
import stat
from typing import Literal, NamedTuple

from prun.errors import InvalidArgument

Kind = Literal["oci", "oci-archive", "docker-archive", "archive"]

STDIN = "-"
_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.zst")


class Source(NamedTuple):
    """Where an image is to be loaded from.

    ``oci`` is a directory; ``archive`` is a file that is to be looked into, whether it is of OCI or of docker.
    ``path`` ``-`` is standard input.  ``tag`` picks one image, empty means all of them.
    """

    kind: Kind
    path: str
    tag: str = ""

    def __str__(self) -> str:
        prefix = "" if self.kind == "archive" else f"{self.kind}:"
        return f"{prefix}{self.path}" + (f":{self.tag}" if self.tag else "")


def parse_source(text: str) -> Source | None:
    """Return the source that ``text`` names, or None where it is an ordinary reference.

    A source is one of

    - ``oci:DIR[:TAG]``, ``oci-archive:FILE[:TAG]``, ``docker-archive:FILE[:TAG]``: the first colon ends the path,
      unless all of it is one that exists;
    - ``-``: an archive on standard input;
    - what begins with ``/``, ``./`` or ``../``: an archive, or the directory of an OCI image layout;
    - a path with a ``/`` that leads to an existing file, or to a directory with an OCI image layout in it;
    - the name of an existing file in the working directory that ends in .tar, .tar.gz, .tgz or .tar.zst.

    Raises:
        InvalidArgument: the path is missing.
    """
    if "\0" in text:
        return None
    prefix, colon, rest = text.partition(":")
    if colon and prefix in {"oci", "oci-archive", "docker-archive"}:
        return _prefixed(text, prefix, rest)  # type: ignore[arg-type]
    if text == STDIN:
        return Source("archive", STDIN)
    explicit = text.startswith(("/", "./", "../"))
    if not explicit and "/" not in text and not text.endswith(_SUFFIXES):
        return None
    try:
        mode = os.stat(text).st_mode
    except (OSError, ValueError):
        return Source("archive", text) if explicit else None
    if stat.S_ISDIR(mode):
        is_layout = "/" in text and os.path.isfile(os.path.join(text, "oci-layout"))
        return Source("oci", text) if explicit or is_layout else None
    return Source("archive", text) if explicit or stat.S_ISREG(mode) else None


def _prefixed(text: str, kind: Kind, rest: str) -> Source:
    path, tag = rest, ""
    if not os.path.exists(rest):
        path, _, tag = rest.partition(":")
    if not path:
        raise InvalidArgument(f"source {text!r} names no path", hint=f"write {kind}:PATH[:TAG]")
    return Source(kind, path, tag)
