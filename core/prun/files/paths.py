"""Where ``cp`` puts what: docker's rules for a trailing slash, for ``/.``, for what exists and what does not.

Source: https://docs.docker.com/reference/cli/docker/container/cp/#description
"""

from __future__ import annotations

import os
from typing import Literal, NamedTuple

from prun.errors import InvalidArgument, NotFound

STREAM = "-"
Kind = Literal["directory", "file", "other", "missing"]


class Argument(NamedTuple):
    """One side of a copy: a path in a container, or, where that is empty, on this machine; ``-`` is a tar stream."""

    container: str
    path: str

    @property
    def is_stream(self) -> bool:
        return not self.container and self.path == STREAM

    @property
    def contents(self) -> bool:
        """Whether it means what is in the directory, and not the directory."""
        return self.path.endswith("/.") or self.path == "." or not self.path.strip("/")

    @property
    def means_directory(self) -> bool:
        """Whether only a directory can be meant, and a link to one is followed."""
        return self.path.endswith("/") or self.contents

    @property
    def name(self) -> str:
        """The last component, empty where there is none that could be a name."""
        name = self.path.rstrip("/").rpartition("/")[2]
        return "" if name in (".", "..") else name

    def missing(self, reason: str = "no such file or directory") -> NotFound:
        where = f"on container {self.container}" if self.container else "on the host"
        return NotFound(f'"{self.path}" could not be found {where}: {reason}')


class Found(NamedTuple):
    """What is at a destination, links followed; ``path`` is where, or where it would be made (its parent is there)."""

    kind: Kind
    path: bytes


class Top(NamedTuple):
    """Where the top of what is copied goes; not ``included``: only what is in it does, below ``path``."""

    path: bytes
    included: bool = True


def parse_argument(word: str) -> Argument:
    """Parse ``[CONTAINER:]PATH``: what begins with a slash or a dot is a path of this machine."""
    container, colon, path = word.partition(":")
    return Argument(container, path) if colon and word[:1] not in ("/", ".") else Argument("", word)


def parse_arguments(source: str, target: str) -> tuple[Argument, Argument]:
    """Parse both arguments of ``cp``.

    Raises:
        InvalidArgument: a path is missing, or no container is named.
    """
    found = parse_argument(source), parse_argument(target)
    if not all(each.path for each in found):
        raise InvalidArgument(f'invalid arguments "{source}", "{target}": you must specify paths')
    if not any(each.container for each in found):
        raise InvalidArgument(
            "must specify at least one container", hint="cp [CONTAINER:]SRC_PATH [CONTAINER:]DEST_PATH"
        )
    return found


def top_of(source: Argument, target: Argument, found: Found, *, is_directory: bool) -> Top:
    """Return where a source goes.

    Raises:
        InvalidArgument: a directory cannot become a file, nor a file a directory; or there is a device.
        NotFound: a file shall go into a directory that does not exist.
    """
    if found.kind == "directory":
        if is_directory and source.contents:
            return Top(found.path, included=False)
        name = os.fsencode(source.name)
        if not name:
            raise InvalidArgument(f'"{source.path}" is no name that could be used in "{target.path}"')
        return Top(found.path + b"/" + name if found.path else name)
    if is_directory and found.kind != "missing":
        raise InvalidArgument("destination must be a directory when copying a directory")
    if found.kind == "other":
        raise InvalidArgument(f'invalid destination: "{target.path}" must be a directory or a regular file')
    if target.means_directory and not is_directory:
        raise target.missing("not a directory" if found.kind == "file" else "no such directory")
    return Top(found.path)
