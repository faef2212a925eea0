"""Snapshots: one directory for each layer of each image, unpacked once, and one for each container.

    <path>/<number>/fs          a layer's own files, for overlayfs; ``tree`` instead: the whole tree, without overlayfs;
                                ``userxattr``, ``fuse``: as ``fs``, marked as root of a user namespace and FUSE can
    <path>/active/<key>/        a container's: ``fs``, ``work``, ``maps`` (``shifted``) and ``chain``, a link whose text
                                is its chain ID
    <path>/new-*                being made, locked by its owner; without a lock it is a leftover
    <path>/locks/               one lock for each chain ID
    <path>/driver               a link whose text says what was found to work here

A snapshot is made under a temporary name, written to disk, given its row in the metadata and renamed, in this order:
a row without a directory counts as missing and is made again, a directory without a row is a leftover.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Protocol

from prun.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from prun.rootfs import mount
from prun.rootfs.claims import claimed, held, is_unclaimed, locked, remove_directory, temporary_directory
from prun.rootfs.driver import found_driver
from prun.rootfs.failures import translated
from prun.types import Mount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from typing import BinaryIO

    from prun.rootfs.driver import Driver, Found
    from prun.rootfs.idmap import IdMaps
    from prun.types import Layer

_DIRECTORY = {"overlayfs": "fs", "userxattr": "userxattr", "fuse": "fuse", "copy": "tree"}


class SnapshotIndex(Protocol):
    """What the metadata knows of snapshots; ``parent`` is the chain ID below, empty for the lowest layer."""

    def snapshot_of(self, chain_id: str) -> int | None: ...
    def add_snapshot(self, chain_id: str, parent: str, size_bytes: int) -> int: ...
    def drop_snapshot(self, chain_id: str) -> None: ...
    def snapshots(self) -> list[tuple[int, str, str]]: ...
    def snapshot_sizes(self) -> list[tuple[str, str, int]]: ...


class Snapshots:
    """The snapshots below ``path``, shared by all processes that use the same ``path`` and ``metadata``.

    ``driver`` ``auto`` takes overlayfs where a trial of it works, else fuse-overlayfs, else whole copies.  Nothing is
    created before the first ``unpack`` or ``prepare``.  Both need root, be it of a user namespace.
    """

    def __init__(self, path: str, metadata: SnapshotIndex, driver: Driver = "auto") -> None:
        if driver not in ("auto", *_DIRECTORY):
            raise InvalidArgument(f"snapshotter {driver!r} is not known", hint=f"auto, {', '.join(_DIRECTORY)}")
        self.path = os.path.abspath(path)
        self._metadata = metadata
        self._asked = driver

    def unpack(self, layers: Sequence[Layer], open_blob: Callable[[str], BinaryIO]) -> str:
        """Unpack the layers that are missing and return the chain ID of all, empty where there are no layers.

        ``open_blob`` opens a blob by its digest.  Any number of processes may ask at once: one unpacks, the others
        wait.  After an error, none of the layers that were missing is kept.

        Raises: as ``layer.apply_layer``, and what ``open_blob`` raises.
        """
        from prun.image.identity import chain_ids

        chains = chain_ids([layer.diff_id for layer in layers])
        with translated(lambda: f"snapshots in {self.path} cannot be made"):
            while (start := self._first_missing(chains)) < len(chains):
                self._make_directories()
                with ExitStack() as stack:
                    if start:  # nobody removes what we build on
                        stack.enter_context(self.locked(chains[start - 1], shared=True))
                    if self._first_missing(chains) >= start:
                        self._unpack_missing(chains, layers, open_blob, stack)
        return chains[-1] if chains else ""

    def prepare(self, key: str, chain_id: str, shift: IdMaps | None = None) -> tuple[Mount, ...]:
        """Make the container ``key`` a writable root over ``chain_id`` (empty: over nothing); return its mounts.

        One that is there already is used as it is, unless it is of another image.  With ``shift`` it is a whole copy
        with the owners that these maps give: for who cannot mount idmapped (``mounted``).

        Raises:
            NotFound: a layer of the image is not unpacked.
            AlreadyExists: ``key`` is in use for another image.
        """
        active = self.directory(key)
        with translated(lambda: f"snapshot of container {key!r} cannot be made"):
            if not os.path.isdir(active):
                self._make_directories()
                with self.locked(chain_id, shared=True) if chain_id else nullcontext():
                    self._make_active(active, chain_id, self.lower(chain_id), shift)
            if self.chain_of(key) != chain_id:
                raise AlreadyExists(f"snapshot of container {key!r} exists and is of another image")
        return self.mounts(key)

    def mounts(self, key: str) -> tuple[Mount, ...]:
        """Return how to mount the root of the container ``key``, as containerd's snapshotters do.

        Raises:
            NotFound: ``prepare`` was not called for it, or a layer is gone.
        """
        upper, work, lower = self.layout(key)
        if not lower:
            return (Mount("/", "bind", upper, ("rbind", "rw")),)
        kind = self.kind()
        name = "fuse3.fuse-overlayfs" if kind == "fuse" else "overlay"
        return (Mount("/", name, "overlay", mount.overlay_options(lower, upper, work, kind)),)

    @contextmanager
    def mounted(self, key: str, target: str, *, volatile: bool = False, idmap: IdMaps | None = None) -> Iterator[str]:
        """Mount the root of the container ``key`` while the context lasts; see ``mount_at``."""
        self.mount_at(key, target, volatile=volatile, idmap=idmap)
        try:
            yield target
        finally:
            mount.unmount(target)

    def mount_at(self, key: str, target: str, *, volatile: bool = False, idmap: IdMaps | None = None) -> None:
        """Mount the root of the container ``key`` at the directory ``target``, for ``mount.unmount`` to undo.

        ``volatile``: the root is thrown away after use (``--rm``); unmounting then does not wait for the disk.
        ``idmap``: with the owners that the files have in a user namespace with these maps.

        Raises:
            FailedPrecondition: the kernel cannot mount so.
        """
        with held(self.directory(key)):
            if idmap:
                from prun.rootfs.shifted import record_maps

                record_maps(self.directory(key), idmap)
            self.mount_held(key, target, volatile=volatile, idmap=idmap)

    def mount_held(self, key: str, target: str, *, volatile: bool = False, idmap: IdMaps | None = None) -> None:
        """Do what ``mount_at`` does, for who holds the directory of ``key``."""
        upper, work, lower = self.layout(key)
        if idmap:
            mount.mount_idmapped(lower, upper, work, target, idmap, volatile=volatile)
        elif lower:
            mount.mount_overlay(lower, upper, work, target, volatile=volatile, kind=self.kind())
        else:
            mount.bind(upper, target)

    def remove(self, key: str) -> None:
        """Remove the root of the container ``key``; it must not be mounted.  None there: nothing to do."""
        active = self.directory(key)
        if os.path.isdir(active):
            # Not while somebody copies files in or out.
            with translated(lambda: f"snapshot of container {key!r} cannot be removed"), held(active):
                self._discard(active)

    def remove_chain(self, chain_id: str) -> None:
        """Remove one layer's snapshot, row and directory.  None there: nothing to do.

        Raises:
            FailedPrecondition: another snapshot or a container stands on it.
        """
        number = self._metadata.snapshot_of(chain_id)
        if number is None:
            return
        with translated(lambda: f"snapshot {chain_id} cannot be removed"):
            self._make_directories()
            with self.locked(chain_id):
                if any(parent == chain_id for _, _, parent in self._metadata.snapshots()):
                    raise FailedPrecondition(f"snapshot {chain_id} has another layer on top of it")
                for key in self.keys():
                    if self.chain_of(key) == chain_id:
                        raise FailedPrecondition(f"snapshot {chain_id} is in use by container {key!r}")
                self._metadata.drop_snapshot(chain_id)
                with suppress(FileNotFoundError):  # who made it was killed before it was there
                    self._discard(os.path.join(self.path, str(number)))
                os.unlink(self._lock_of(chain_id))

    def missing(self) -> list[str]:
        """Return the chain IDs of snapshots that have a row and no directory."""
        return [chain for _, chain, _ in self._metadata.snapshots() if not self.directory_of(chain)]

    def keys(self) -> list[str]:
        """Return the keys of all containers that have a root here."""
        return _listed(os.path.join(self.path, "active"))

    def sizes(self, key: str) -> tuple[int, int]:
        """Return how many bytes the container ``key`` has written, and how many there are with what it stands on.

        Nothing where it has no root here.
        """
        from prun.rootfs.usage import chain_bytes, tree_bytes

        try:
            chain = self.chain_of(key)
        except NotFound:
            return 0, 0
        written = tree_bytes(os.path.join(self.directory(key), "fs"))
        is_copy = not os.path.isdir(os.path.join(self.directory(key), "work"))
        return written, written if is_copy else written + chain_bytes(self._metadata.snapshot_sizes(), chain)

    def used(self) -> set[str]:
        """Return the chain IDs that containers' roots stand on, those below them too."""
        parents = {chain_id: parent for _, chain_id, parent in self._metadata.snapshots()}
        found: set[str] = set()
        for key in self.keys():
            chain = self.chain_of(key)
            while chain and chain not in found:
                found.add(chain)
                chain = parents.get(chain, "")
        return found

    def leftovers(self) -> list[str]:
        """Return the paths of what dead processes have left: half-made snapshots, directories without a row."""
        return [path for path in self._candidates() if is_unclaimed(path)]

    def clear_leftovers(self) -> list[str]:
        """Remove the leftovers and return their paths."""
        cleared = []
        with translated(lambda: f"leftovers in {self.path} cannot be removed"):
            for path in self._candidates():
                with claimed(path) as ours:
                    if ours:
                        remove_directory(path)
                        cleared.append(path)
        return cleared

    def _unpack_missing(
        self, chains: Sequence[str], layers: Sequence[Layer], open_blob: Callable[[str], BinaryIO], stack: ExitStack
    ) -> None:
        """Unpack and commit what is missing; the locks stay until ``stack`` ends."""
        from prun.rootfs.unpacking import unpack_over
        from prun.rootfs.writeback import durable

        fresh: list[tuple[str, str, str, int]] = []
        below: list[str] = []
        temporary = stack.enter_context(temporary_directory(self.path))
        with durable(self.path):
            for chain, parent, layer in zip(chains, ["", *chains], layers, strict=False):
                directory = self.directory_of(chain)
                if not directory:
                    stack.enter_context(self.locked(chain))
                    directory = self.directory_of(chain)  # someone else may have been quicker
                if not directory:
                    directory = os.path.join(temporary, str(len(below)), "fs")
                    size_bytes = unpack_over(layer, open_blob, directory, below, self.kind_of_layers())
                    fresh.append((chain, parent, directory, size_bytes))
                below.insert(0, directory)
        if fresh:
            self._commit(fresh)

    def _commit(self, fresh: Iterable[tuple[str, str, str, int]]) -> None:
        """Make layers known that are on the disk, the lowest first: chain ID, that below, directory, size."""
        for chain_id, parent, directory, size_bytes in fresh:
            number = self._metadata.snapshot_of(chain_id)
            if number is None:
                number = self._metadata.add_snapshot(chain_id, parent, size_bytes)
            home = os.path.join(self.path, str(number))
            os.makedirs(home, 0o700, exist_ok=True)
            final = os.path.join(home, _DIRECTORY[self._driver()])
            if os.path.lexists(final):  # of a row that had this number before
                self._discard(final)
            os.rename(directory, final)

    def _make_active(self, active: str, chain_id: str, lower: Sequence[str], shift: IdMaps | None) -> None:
        with temporary_directory(self.path) as temporary:
            self._fill_active(temporary, chain_id, lower, shift)
            try:
                os.rename(temporary, active)
            except OSError:  # ENOTEMPTY or EEXIST: another process was quicker
                if not os.path.isdir(active):
                    raise

    def _fill_active(self, temporary: str, chain_id: str, lower: Sequence[str], shift: IdMaps | None) -> None:
        from prun.rootfs.attributes import copy_root_attributes, make_root

        fs = os.path.join(temporary, "fs")
        make_root(fs)
        os.symlink(chain_id or "-", os.path.join(temporary, "chain"))
        if shift:
            from prun.rootfs.shifted import copy_shifted, record_maps

            record_maps(temporary, shift, copied=True)
            copy_shifted(lower, fs, shift, temporary, "" if self._driver() == "copy" else self.kind())
        elif not lower:
            return
        elif self._driver() == "copy":
            from prun.rootfs.copytree import copy_tree

            copy_tree(lower[0], fs)
        else:
            os.mkdir(os.path.join(temporary, "work"))
            copy_root_attributes(lower[0], fs)

    def layout(self, key: str) -> tuple[str, str, list[str]]:
        """Return upper, work and lower directories of a container; no lower ones for a plain directory."""
        active = self.directory(key)
        chain_id = self.chain_of(key)
        upper, work = os.path.join(active, "fs"), os.path.join(active, "work")
        if not chain_id or not os.path.isdir(work):
            return upper, "", []
        return upper, work, self.lower(chain_id)

    def lower(self, chain_id: str) -> list[str]:
        """Return the directories of ``chain_id`` and what it stands on, topmost first; one for a whole tree."""
        if not chain_id:
            return []
        rows = {chain: (number, parent) for number, chain, parent in self._metadata.snapshots()}
        name = _DIRECTORY[self._driver()]
        found = []
        chain = chain_id
        while chain:
            number, chain = rows.get(chain, (None, ""))
            directory = os.path.join(self.path, str(number), name)
            if number is None or not os.path.isdir(directory):
                raise NotFound(f"snapshot {chain_id} is not unpacked, or a layer of it is gone")
            found.append(directory)
            if name == "tree":
                break
        return found

    def directory_of(self, chain_id: str) -> str:
        """Return the directory of a snapshot that is there, else an empty string."""
        number = self._metadata.snapshot_of(chain_id)
        if number is None:
            return ""
        directory = os.path.join(self.path, str(number), _DIRECTORY[self._driver()])
        return directory if os.path.isdir(directory) else ""

    def _first_missing(self, chains: Sequence[str]) -> int:
        """Return the index of the first chain that has no snapshot, their number where none is missing."""
        numbers = {chain_id: number for number, chain_id, _ in self._metadata.snapshots()}
        name = _DIRECTORY[self._driver()]
        for index, chain in enumerate(chains):
            if chain not in numbers or not os.path.isdir(os.path.join(self.path, str(numbers[chain]), name)):
                return index
        return len(chains)

    def directory(self, key: str) -> str:
        """Return the directory of the container ``key``; who holds it (``claims``) alone mounts or removes it."""
        if not key or key.startswith(".") or "/" in key or "\0" in key or len(key) > 200:
            raise InvalidArgument(f"snapshot key {key!r} is no file name")
        return os.path.join(self.path, "active", key)

    def chain_of(self, key: str) -> str:
        """Return the chain ID of the image that a container's root stands on, empty for none."""
        try:
            chain_id = os.readlink(os.path.join(self.directory(key), "chain"))
        except OSError as error:
            raise NotFound(f"container {key!r} has no snapshot") from error
        return "" if chain_id == "-" else chain_id

    def _make_directories(self) -> None:
        if not os.path.isdir(os.path.join(self.path, "locks")):
            os.makedirs(self.path, 0o700, exist_ok=True)
            os.chmod(self.path, 0o700)  # setuid programs of images are nobody's business (moby CVE-2021-41091)
            os.makedirs(os.path.join(self.path, "active"), 0o700, exist_ok=True)
            os.makedirs(os.path.join(self.path, "locks"), 0o700, exist_ok=True)

    def _driver(self) -> Found:
        if self._asked == "auto" and os.path.isdir(self.path):
            self._asked = found_driver(self.path)
        return "overlayfs" if self._asked == "auto" else self._asked  # with nothing here, nothing depends on the answer

    def kind(self) -> mount.Kind:
        """Return how overlays are mounted here, and what marks them."""
        driver = self._driver()
        return "overlayfs" if driver == "copy" else driver

    def kind_of_layers(self) -> mount.Kind | None:
        """Return how a layer is put over those below it: ``kind``, None where that is a copy of them."""
        return None if self._driver() == "copy" else self.kind()

    def _lock_of(self, chain_id: str) -> str:
        return os.path.join(self.path, "locks", chain_id.replace(":", "-"))

    def locked(self, chain_id: str, *, shared: bool = False) -> AbstractContextManager[None]:
        """Lock a chain: alone to make or remove its snapshot, shared to build on it."""
        return locked(self._lock_of(chain_id), shared=shared)

    def _candidates(self) -> list[str]:
        """Return temporary directories and those without a row; a row is always older than its directory."""
        names = _listed(self.path)
        numbers = {str(number) for number, _, _ in self._metadata.snapshots()}
        return [
            os.path.join(self.path, name)
            for name in names
            if name.startswith("new-") or (name.isdigit() and name not in numbers)
        ]

    def _discard(self, path: str) -> None:
        """Move a directory out of sight, so that killing us leaves a leftover and not half a snapshot; remove it."""
        with temporary_directory(self.path) as temporary:
            os.rename(path, os.path.join(temporary, "fs"))


def _listed(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except FileNotFoundError:
        return []
