"""``diff``, ``export``, ``cp``, ``commit``."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from prun.cli.images import opened
from prun.cli.output import printable
from prun.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_KINDS = {"C": "changed", "A": "added", "D": "deleted"}


@click.command()
@click.argument("name", metavar="CONTAINER|IMAGE")
@click.argument("other", default="", metavar="[CONTAINER|IMAGE]")
@click.option("--format", "form", type=click.Choice(["json"]), default=None, help="How to show it, if not as lines.")
@click.pass_obj
def diff(settings: Mapping[str, str], name: str, other: str, form: str | None) -> None:
    """Show what a container or an image has changed.

    A is added, C changed, D deleted: in the container's image, in the layers below the image's topmost, or in the
    second of two.
    """
    from prun.files import layers

    with opened(settings) as store:
        found = [(change.kind, f"/{os.fsdecode(change.path)}") for change in layers.diff(store, name, other)]
    if form == "json":
        lists = {word: [path for kind, path in found if kind == letter] for letter, word in _KINDS.items()}
        print(json.dumps({word: paths for word, paths in lists.items() if paths}, indent=2))
        return
    for kind, path in found:
        print(f"{kind} {printable(path)}")


@click.command()
@click.argument("name", metavar="CONTAINER")
@click.option("-o", "--output", default="", metavar="FILE", help="Write to a file instead of standard output.")
@click.pass_obj
def export(settings: Mapping[str, str], name: str, output: str) -> None:
    """Write a container's files as a tar; what it has mounted, such as volumes, is none of them."""
    from prun.files import layers

    if not output and os.isatty(1):
        raise InvalidArgument("refusing to export to a terminal", hint="use -o FILE, or redirect")
    with opened(settings) as store:
        row = store.find(name)
        layers.require_layer(store, row)
        with _writable(output) as fd, open(fd, "wb", buffering=1 << 20, closefd=False) as file:
            layers.export(store, row.id, file.write)


@contextmanager
def _writable(path: str) -> Iterator[int]:
    """Give a descriptor to write ``path`` with: the file appears when all is written; empty: standard output."""
    if not path or (os.path.exists(path) and not os.path.isfile(path)):
        try:
            yield os.open(path, os.O_WRONLY | os.O_CLOEXEC) if path else 1
        except OSError as error:
            raise _cannot_write(path or "standard output", error) from error
        return
    path = os.path.realpath(path)
    temporary = f"{path}.{os.urandom(4).hex()}"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            yield fd
            os.rename(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
        finally:
            os.close(fd)
    except OSError as error:
        raise _cannot_write(path, error) from error


def _cannot_write(path: str, error: OSError) -> Exception:
    if isinstance(error, BrokenPipeError):
        return error
    from prun.rootfs.failures import failure

    return failure(f"{path} cannot be written", error)
