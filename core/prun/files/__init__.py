"""Files of containers, looked at and handled from outside: ``diff``, ``export``, ``cp``, ``commit``.

What is in a container's root is the container's doing, and may change under our hands while it runs.  No program of it
is executed, no path of it leads out of it, nothing is mounted on a path that it controls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import BinaryIO

    from prun.rootfs.changes import Change


class Files(NamedTuple):
    """The commands for a library, on the containers of two directories (``Runner.files``).

    They raise PrunError, and ``NotFound`` where there is no such container.
    """

    root: str
    state: str
    aliases: Mapping[str, str]

    def diff(self, name: str, other: str = "") -> list[Change]:
        """Return what a container or an image has changed; paths are bytes below the root."""
        from prun.files import layers
        from prun.state import Store

        with Store(self.root, self.state, self.aliases) as store:
            return layers.diff(store, name, other)

    def export(self, name: str, file: BinaryIO) -> None:
        """Write a container's files as a tar."""
        from prun.files import layers
        from prun.state import Store

        with Store(self.root, self.state, self.aliases) as store:
            layers.export(store, name, file.write)

    def copy(
        self,
        source: str,
        target: str,
        *,
        archive: bool = True,
        follow_link: bool = False,
        overwrite: bool = False,
        stdin: BinaryIO | None = None,
        stdout: BinaryIO | None = None,
    ) -> int:
        """Copy ``[CONTAINER:]PATH`` to another and return how many bytes; ``-`` is a tar of ``stdin`` or ``stdout``."""
        from prun.files.copying import CopyOptions, copy
        from prun.state import Store

        options = CopyOptions(archive, follow_link, overwrite)
        with Store(self.root, self.state, self.aliases) as store:
            return copy(store, source, target, options, stdin=stdin, write=stdout.write if stdout else None).size_bytes

    def commit(
        self,
        name: str,
        image: str = "",
        *,
        author: str = "",
        message: str = "",
        changes: Sequence[str] = (),
        pause: bool = True,
        squash: bool = False,
        include_volumes: bool = False,
    ) -> str:
        """Make an image of a container and return its digest."""
        from prun.files.commit import CommitOptions, commit
        from prun.state import Store

        options = CommitOptions(author, message, tuple(changes), pause, squash, include_volumes)
        with Store(self.root, self.state, self.aliases) as store:
            return commit(store, name, image, options).digest
