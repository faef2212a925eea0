"""Unpack one layer over a directory: decompress, hash and write in one pass.

The directory shows what the lower layers hold, and a whiteout is the removal of what it names: the image-spec's own
words.  On overlayfs it is a mount of the lower snapshots with the new one on top (``prun.rootfs.snapshots``): the
kernel makes whiteouts, opaque directories and copies of lower files, as containerd has it.

The other way, umoci's and moby's, writes overlayfs's marks into a bare directory by hand.  It can unpack layers side by
side, and has to guess what lower layers hold for links through lower directories, hard links to lower files, parents
without an entry, ``.wh.d`` beside ``d/`` and an opaque root.  Podman 4.3 and containerd 1.6 get two of these wrong.
Here nothing is guessed, one set of rules serves overlayfs and plain copies, and the base layer, most of an image, is a
plain directory anyway.  The price: hiding a directory of a lower layer takes time in proportion to what is in it.

Spec: https://github.com/opencontainers/image-spec/blob/v1.1.1/layer.md#applying-changesets
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from prun.errors import DataLoss
from prun.rootfs import tarstream
from prun.rootfs.decompress import open_tar
from prun.rootfs.failures import translated
from prun.rootfs.marks import is_aufs_mark, whiteout_of
from prun.rootfs.tarheader import shown
from prun.rootfs.tree import Place, Tree
from prun.rootfs.treewriter import TreeWriter

if TYPE_CHECKING:
    from typing import BinaryIO

    from prun.rootfs.tarheader import Entry


class Applied(NamedTuple):
    """What a layer was: the digest of its uncompressed tar, how many entries, how many bytes of files."""

    diff_id: str
    entries: int
    size_bytes: int


def apply_layer(
    blob: BinaryIO,
    media_type: str,
    expected_diff_id: str,
    target_fd: int,
    *,
    merged: bool,
    limits: tarstream.Limits = tarstream.LIMITS,
) -> Applied:
    """Unpack the layer ``blob`` (seekable, at its start) over the directory ``target_fd``, whiteouts included.

    ``merged`` says that the directory shows lower layers.  No path or link in the archive leads out of it.  After an
    error the directory holds a part of the layer: the caller throws it away.

    Kept of extended attributes: ``user.*`` and ``security.capability``.  Others belong to the host (SELinux labels) or
    to overlayfs itself (``trusted.overlay.*``, ``user.overlay.*``), and are left out.

    Raises:
        InvalidArgument: malformed, a kind of entry that no layer has, or a media type that the data belies.
        DataLoss: truncated or damaged, or not what ``expected_diff_id`` says.
        ResourceExhausted: more than ``limits`` allow, or the disk is full.
        PermissionDenied: the caller is not root.
        FailedPrecondition: root of an ordinary user's namespace cannot make a device, or has no such owner.
    """
    algorithm = expected_diff_id.partition(":")[0]
    with (
        open_tar(blob, media_type, limits.size_bytes, algorithm) as tar,
        Tree(os.dup(target_fd), merged=merged) as tree,
    ):
        writer, entries = TreeWriter(tree), 0
        for entry in tarstream.read_entries(tar, limits):
            entries += 1
            if not _is_mark(entry, tree):
                writer.add(entry, tar)
        with translated(lambda: "times of a layer's directories cannot be set"):
            tree.set_directory_times()
        found = tar.diff_id()
    if found != expected_diff_id:
        raise DataLoss(f"layer has the diff ID {found}, and the image says {expected_diff_id}")
    return Applied(found, entries, writer.size_bytes)


def _is_mark(entry: Entry, tree: Tree) -> bool:
    """Do what an entry that is a whiteout says; whether it was one, or a file of aufs's own."""
    name = entry.name
    if b".wh." not in name:
        return False
    if is_aufs_mark(name):
        return True
    hidden = whiteout_of(name)
    if hidden is None:
        return False
    with translated(lambda: f"tar entry {shown(name)} cannot be unpacked"):
        _hide(tree, name, hidden)
    return True


def _hide(tree: Tree, name: bytes, hidden: bytes) -> None:
    """Do what the whiteout ``name`` says: hide ``hidden``, or all of its directory, as lower layers have it."""
    if not tree.merged:
        return
    parent = name.rstrip(b"/").rpartition(b"/")[0]
    directory = tree.find_directory(parent)
    if directory is None:
        return
    if hidden:
        tree.remove(Place(directory, hidden), keep_written=True)
    else:
        tree.clear(directory)
