"""Unpacked layers and the roots of containers in one of containerd's snapshotters, and the leases that keep them."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING

from prun.errors import AlreadyExists, DataLoss, InvalidArgument, NotFound
from prun.image.identity import chain_ids
from prun_protos.containerd.v1.api_pb2 import (
    AppliedDiff,
    ApplyDiff,
    CommitSnapshot,
    CreateLease,
    DeleteLease,
    Descriptor,
    Filters,
    LeaseBox,
    Mount,
    Mounts,
    Namespace,
    NamespaceBox,
    Plugins,
    Snapshot,
    SnapshotBox,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prun.engines.containerd.client import Client
    from prun.engines.containerd.content import Blobs
    from prun.types import Image, Layer

DEFAULT = "overlayfs"
LEASE_S = 24 * 3600  # ctr's: what a killed prun has held is garbage after that
OWNER = "prun.io/root"  # the label of what is ours: the root directory of the prun that made it
_NAMESPACE_DEFAULT = "containerd.io/defaults/snapshotter"
_UNPACK_S = 3600.0


class Snapshots:
    """The snapshots of one snapshotter in one namespace."""

    def __init__(self, client: Client, name: str) -> None:
        self._client, self.name = client, name

    def prepare(self, key: str, parent: str, owner: str, lease: str) -> Sequence[Mount]:
        """Make a writable snapshot and return how to mount it.

        Raises:
            AlreadyExists: the key is taken.
            NotFound: there is no such parent.
        """
        request = Snapshot(snapshotter=self.name, key=key, parent=parent, labels={OWNER: owner})
        return self._client.call("snapshots.v1.Snapshots/Prepare", request, Mounts, lease=lease).mounts

    def mounts(self, key: str) -> Sequence[Mount]:
        """Return how to mount a snapshot."""
        request = Snapshot(snapshotter=self.name, key=key)
        return self._client.call("snapshots.v1.Snapshots/Mounts", request, Mounts).mounts

    def owner(self, key: str) -> str | None:
        """Return whose a snapshot is, None where there is none."""
        request = Snapshot(snapshotter=self.name, key=key)
        try:
            info = self._client.call("snapshots.v1.Snapshots/Stat", request, SnapshotBox).info
        except NotFound:
            return None
        return info.labels.get(OWNER, "")

    def remove(self, key: str) -> None:
        """Remove a snapshot; one that is not there is none to remove."""
        with suppress(NotFound):
            self._client.tell("snapshots.v1.Snapshots/Remove", Snapshot(snapshotter=self.name, key=key))

    def unpack(self, image: Image, config_digest: str, blobs: Blobs, lease: str) -> str:
        """Unpack the layers that are not yet, and return the chain ID of the topmost, empty where there are none.

        The image's config refers to it: the snapshots stay as long as the image does.

        Raises:
            DataLoss: a layer is not what its image says.
        """
        top = ""
        for chain_id, layer in zip(chain_ids([each.diff_id for each in image.layers]), image.layers, strict=True):
            if self.owner(chain_id) is None:
                self._unpack_layer(layer, chain_id, top, blobs, lease)
            top = chain_id
        if top:
            blobs.label(config_digest, {f"containerd.io/gc.ref.snapshot.{self.name}": top})
        return top

    def _unpack_layer(self, layer: Layer, chain_id: str, parent: str, blobs: Blobs, lease: str) -> None:
        key = f"extract-{os.urandom(8).hex()} {chain_id}"
        labels = {"containerd.io/snapshot.ref": chain_id}
        request = Snapshot(snapshotter=self.name, key=key, parent=parent, labels=labels)
        try:
            mounts = self._client.call("snapshots.v1.Snapshots/Prepare", request, Mounts, lease=lease).mounts
        except AlreadyExists:
            return  # a snapshotter that fetches by itself has it
        try:
            blob = Descriptor(media_type=layer.media_type, digest=layer.digest, size=layer.size_bytes)
            apply = ApplyDiff(diff=blob, mounts=mounts)
            done = self._client.call("diff.v1.Diff/Apply", apply, AppliedDiff, lease=lease, timeout_s=_UNPACK_S)
            if done.applied.digest != layer.diff_id:
                raise DataLoss(f"layer {layer.digest} has another diff ID than {layer.diff_id}, which its image says")
            commit = CommitSnapshot(snapshotter=self.name, name=chain_id, key=key)
            self._client.tell("snapshots.v1.Snapshots/Commit", commit, lease=lease)
            blobs.label(layer.digest, {"containerd.io/uncompressed": layer.diff_id})
        except AlreadyExists:
            self.remove(key)  # another one was quicker
        except BaseException:
            self.remove(key)
            raise


@lru_cache(maxsize=16)
def snapshotter_of(client: Client, wanted: str) -> str:
    """Return the name of the snapshotter to use: the one asked for, the namespace's, or overlayfs.

    Raises:
        InvalidArgument: there is none of that name, or it does not work here; the hint says what there is.
    """
    if not wanted:
        with suppress(NotFound):
            request = Namespace(name=client.namespace)
            found = client.call("namespaces.v1.Namespaces/Get", request, NamespaceBox).namespace
            wanted = found.labels.get(_NAMESPACE_DEFAULT, "")
    filters = Filters(filters=["type==io.containerd.snapshotter.v1"])
    known = {each.id: each for each in client.call("introspection.v1.Introspection/Plugins", filters, Plugins).plugins}
    name = wanted or DEFAULT
    if name not in known or known[name].init_err.message:
        reason = known[name].init_err.message if name in known else "there is none of that name"
        usable = sorted(each for each, plugin in known.items() if not plugin.init_err.message)
        raise InvalidArgument(
            f"snapshotter {name!r} of containerd at {client.address} cannot be used: {' '.join(reason.split())[:300]}",
            hint=f"--snapshotter {'|'.join(usable)}",
        )
    return name


@contextmanager
def leased(client: Client, owner: str, name: str = "") -> Iterator[str]:
    """Give the id of a lease that ends with the context, and of itself after a day: whoever is killed keeps nothing."""
    expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + LEASE_S))
    lease = name or f"prun-{os.urandom(8).hex()}"
    request = CreateLease(id=lease, labels={"containerd.io/gc.expire": expires, OWNER: owner})
    client.call("leases.v1.Leases/Create", request, LeaseBox)
    try:
        yield lease
    finally:
        end_lease(client, lease)


def end_lease(client: Client, lease: str) -> None:
    """Let go of what a lease holds; one that is not there holds nothing."""
    with suppress(NotFound):
        client.tell("leases.v1.Leases/Delete", DeleteLease(id=lease))
