"""Tier 6: the words of the request, the most specific plugin of all."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from prun._marker import hookimpl
from prun.errors import NotFound
from prun.rootfs.safepath import Root
from prun.spec import (
    with_annotations,
    with_cwd,
    with_env,
    with_hostname,
    with_readonly_root,
    with_terminal,
)
from prun.types import Image, Mount

if TYPE_CHECKING:
    from types import TracebackType

    from prun.spec import SpecOpt
    from prun.types import FileStat, Platform, Rootfs, RunRequest


class Directory:
    """A directory that somebody else owns, used as the root file system as it is (``--rootfs``)."""

    mounts: tuple[Mount, ...] = ()

    def __init__(self, request: RunRequest, image: Image, bundle: str) -> None:
        self.path = os.path.realpath(request.rootfs)
        self._request, self._image, self._bundle = request, image, bundle
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        if not self._request.view_only and (self._request.volumes or self._request.volumes_from):
            from prun.engines.embedded import mounts
            from prun.state import Store

            with ExitStack() as stack:
                store = stack.enter_context(Store(self._request.root, self._request.state))
                root = stack.enter_context(Root(self.path))
                undo = stack.enter_context(ExitStack())
                mounts.prepare(store, self._request, self._image, self._bundle, root, undo, None)
                self._stack = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def leave(self) -> None:
        self._stack.pop_all()

    def read(self, path: str, limit_bytes: int) -> bytes:
        with Root(self.path) as root:
            return root.read(path, limit_bytes)

    def stat(self, path: str) -> FileStat | None:
        with Root(self.path) as root:
            return root.stat(path)


@hookimpl
def prun_resolve_image(request: RunRequest, platform: Platform) -> Image | None:
    """With ``--rootfs`` no image is resolved and its config is empty (seed S3)."""
    if not request.rootfs:
        return None
    if not os.path.isdir(request.rootfs):
        raise NotFound(f"root file system {request.rootfs!r} is no directory")
    return Image(request.rootfs, "", platform, {})


@hookimpl
def prun_prepare_rootfs(request: RunRequest, image: Image, bundle: str) -> Rootfs | None:
    """Use the directory of ``--rootfs``."""
    return Directory(request, image, bundle) if request.rootfs else None


@hookimpl
def prun_mounts(request: RunRequest) -> list[Mount]:
    """Add the mounts that were asked for; volumes and images are the engine's business."""
    wanted = [
        Mount(mount.destination, mount.type, mount.source or mount.type, mount.options)
        for mount in request.volumes
        if mount.type in ("bind", "tmpfs")
    ]
    if "PRUN_ROOTLESS" in os.environ or request.uid_map or "user" in request.namespaces:
        from prun.rootless import allowed

        wanted = [allowed(mount, request) for mount in wanted]
    if wanted and not request.view_only:
        from prun.engines.embedded.binds import pinned

        bundle = os.path.join(os.path.abspath(request.state), "bundles", request.id)
        wanted = [pinned(mount, bundle) for mount in wanted]
    return [*wanted, *request.mounts]


@hookimpl
def prun_spec_opts(request: RunRequest) -> list[SpecOpt]:
    """Say what the command line says."""
    opts: list[SpecOpt] = [with_env(request.env)]
    if request.workdir:
        opts.append(with_cwd(request.workdir))
    if request.hostname:
        opts.append(with_hostname(request.hostname))
    if request.readonly:
        opts.append(with_readonly_root)
    if request.terminal:
        opts.append(with_terminal)
    if any({"shared", "rshared"}.intersection(mount.options) for mount in request.volumes):
        from prun.spec.linux import with_shared_root

        opts.append(with_shared_root)
    if request.annotations:
        opts.append(with_annotations(request.annotations))
    return opts
