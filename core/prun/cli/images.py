"""``load``, ``images``, ``rmi``."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from prun.cli.listing import FORMAT, print_listing
from prun.cli.output import ago, local_time, timestamp
from prun.cli.run import runner_of
from prun.cli.template.values import Bytes
from prun.state import Store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prun.metadata import ImageRow


@contextmanager
def opened(settings: Mapping[str, str]) -> Iterator[Store]:
    """Open the store that the global options choose, and clean up after dead processes first."""
    from prun.recovery import recover

    runner = runner_of(settings)
    with Store(runner.root, runner.state) as store:
        recover(store)
        yield store


@click.command()
@click.argument("source", metavar="SOURCE")
@click.option("--tag", default="", metavar="REF", help="Name the image; needed where the source gives no name.")
@click.option("--no-unpack", is_flag=True, help="Leave the layers to the first run.")
@click.option("-q", "--quiet", is_flag=True, help="Print only the names.")
@click.pass_obj
def load(settings: Mapping[str, str], source: str, tag: str, no_unpack: bool, quiet: bool) -> None:
    """Load images from an archive or a layout.

    SOURCE is oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:TAG], the path of an archive or of a
    layout, or - for stdin.
    """
    from prun.engines.embedded.images import load_images

    stdin = sys.stdin.buffer if source == "-" else None
    with opened(settings) as store:
        for row in load_images(store, source, tag=tag, unpack=not no_unpack, stdin=stdin):
            print(row.name if quiet else f"Loaded image: {row.name}")


@click.command()
@FORMAT
@click.option("-q", "--quiet", is_flag=True, help="Print only the ids.")
@click.option("--no-trunc", is_flag=True, help="Do not shorten ids.")
@click.option("--digests", is_flag=True, help="Show digests.")
@click.pass_obj
def images(settings: Mapping[str, str], form: str, quiet: bool, no_trunc: bool, digests: bool) -> None:
    """List images."""
    with opened(settings) as store:
        rows = [_listed(store, row, no_trunc=no_trunc) for row in store.metadata.images()]
    columns = {"REPOSITORY": "Repository", "TAG": "Tag", "DIGEST": "Digest", "IMAGE ID": "ID",
               "CREATED": "CreatedSince", "SIZE": "Size"}  # fmt: skip
    if not digests:
        del columns["DIGEST"]
    if quiet:
        rows = list({row["ID"]: row for row in rows}.values())
    print_listing(rows, columns, form, quiet="ID" if quiet else "")


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="IMAGE...")
@click.option("-f", "--force", is_flag=True, help="Remove all names of an image given by its id.")
@click.pass_obj
def rmi(settings: Mapping[str, str], names: tuple[str, ...], force: bool) -> None:
    """Remove images."""
    from prun.engines.embedded.garbage import remove

    with opened(settings) as store:
        for name in names:
            print("\n".join(remove(store, name, force=force).lines()))


def _listed(store: Store, row: ImageRow, *, no_trunc: bool) -> dict[str, Any]:
    from prun.image.manifest import blobs
    from prun.image.reference import parse_reference

    size_bytes = sum({blob["digest"]: blob["size"] for blob in blobs(store.content, row.target)}.values())
    repository, tag = "<none>", "<none>"
    if not row.name.startswith("sha256:"):
        reference = parse_reference(row.name)
        repository = reference.familiar.partition("@")[0]
        if reference.tag:
            repository, tag = repository.rpartition(":")[0], reference.tag
    return {
        "Name": row.name,
        "Repository": repository,
        "Tag": tag,
        "ID": row.digest if no_trunc else row.digest.partition(":")[2][:12],
        "Digest": row.digest,
        "MediaType": row.media_type,
        "Created": timestamp(row.created_at),
        "CreatedAt": local_time(row.created_at),
        "CreatedSince": ago(row.created_at),
        "Size": Bytes(size_bytes),
    }
