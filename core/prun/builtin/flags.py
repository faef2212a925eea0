"""Tier 6: the words of the request, the most specific plugin of all."""

from __future__ import annotations

import os
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
from prun.types import Image

if TYPE_CHECKING:
    from types import TracebackType

    from prun.spec import SpecOpt
    from prun.types import FileStat, Mount, Platform, Rootfs, RunRequest


class Directory:
    """A directory that somebody else owns, used as the root file system as it is (``--rootfs``)."""

    mounts: tuple[Mount, ...] = ()

    def __init__(self, path: str) -> None:
        self.path = path

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

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
def prun_prepare_rootfs(request: RunRequest) -> Rootfs | None:
    """Use the directory of ``--rootfs``."""
    return Directory(os.path.realpath(request.rootfs)) if request.rootfs else None


@hookimpl
def prun_mounts(request: RunRequest) -> list[Mount]:
    """Add the mounts that were asked for."""
    return list(request.mounts)


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
    if request.annotations:
        opts.append(with_annotations(request.annotations))
    return opts
