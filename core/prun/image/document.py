"""The shapes of the image spec's JSON documents; unknown keys survive.

Spec: https://github.com/opencontainers/image-spec/blob/v1.1.1/README.md
"""

from __future__ import annotations

from typing import Any, TypedDict


class PlatformObject(TypedDict, total=False):
    """image-index.md, ``platform``."""

    architecture: str
    os: str
    variant: str


class Descriptor(TypedDict, total=False):
    """descriptor.md#properties."""

    mediaType: str
    digest: str
    size: int
    annotations: dict[str, str]
    platform: PlatformObject
    artifactType: str


class Manifest(TypedDict, total=False):
    """manifest.md."""

    schemaVersion: int
    mediaType: str
    artifactType: str
    subject: Descriptor
    config: Descriptor
    layers: list[Descriptor]
    annotations: dict[str, str]


class Index(TypedDict, total=False):
    """image-index.md."""

    schemaVersion: int
    mediaType: str
    manifests: list[Descriptor]
    annotations: dict[str, str]


class ImageConfig(TypedDict, total=False):
    """config.md#properties, the ``config`` object."""

    User: str
    ExposedPorts: dict[str, Any]
    Env: list[str]
    Entrypoint: list[str]
    Cmd: list[str]
    Volumes: dict[str, Any]
    WorkingDir: str
    Labels: dict[str, str]
    StopSignal: str
    ArgsEscaped: bool
    Healthcheck: dict[str, Any]


class RootfsObject(TypedDict, total=False):
    """config.md#properties, ``rootfs``."""

    type: str
    diff_ids: list[str]


class ConfigDocument(TypedDict, total=False):
    """config.md, the whole document."""

    created: str
    author: str
    architecture: str
    os: str
    variant: str
    config: ImageConfig
    rootfs: RootfsObject
    history: list[dict[str, Any]]
