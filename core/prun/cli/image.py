"""``image``: every command on images under one word, as docker and podman have it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from prun.cli.filters import filter_option
from prun.cli.groups import AlsoHere
from prun.cli.imagerows import chosen
from prun.cli.images import opened
from prun.cli.listing import RECORD_FORMAT, print_records
from prun.cli.output import printable, size
from prun.errors import FailedPrecondition, InvalidArgument, NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prun.engines.embedded.garbage import Removed
    from prun.metadata import ImageRow
    from prun.state import Store

_PRUNE_FILTERS = ("label", "label!", "until")


_ALSO = ("history", "import", "load", "pull", "push", "save", "tag")


@click.group(cls=AlsoHere, also={**{name: name for name in _ALSO}, "list": "images", "ls": "images", "rm": "rmi"})
def image() -> None:
    """Look after images."""


@image.command()
@click.argument("names", nargs=-1, required=True, metavar="IMAGE...")
@click.option("--platform", default="", metavar="OS[/ARCH[/VARIANT]]", help="Of this platform.")
@RECORD_FORMAT
@click.pass_obj
def inspect(settings: Mapping[str, str], names: tuple[str, ...], platform: str, form: str) -> None:
    """Show all that is known of images, as JSON."""
    from prun.cli.inspection.image import inspect_image
    from prun.engines.embedded.images import find
    from prun.image.platform import parse_platform

    wanted = parse_platform(platform) if platform else None
    with opened(settings) as store:
        records = [inspect_image(store, find(store, name), wanted) for name in names]
    print_records(records, form, indent=2)


@image.command()
@click.argument("name", metavar="IMAGE")
@click.pass_obj
def exists(settings: Mapping[str, str], name: str) -> int:
    """Exit with 0 where there is such an image, with 1 where there is none."""
    from prun.engines.embedded.images import find

    with opened(settings) as store:
        try:
            find(store, name)
        except NotFound:
            return 1
    return 0


@image.command()
@click.argument("names", nargs=-1, required=True, metavar="IMAGE...")
@click.pass_obj
def verify(settings: Mapping[str, str], names: tuple[str, ...]) -> int:
    """Check every blob and every unpacked layer of images; exit with 1 where something is damaged."""
    from prun.engines.embedded.images import find
    from prun.engines.embedded.verify import check_image

    damaged = False
    with opened(settings) as store:
        for name in names:
            with store.using_images():
                problems = check_image(store, find(store, name))
            damaged |= bool(problems)
            print("\n".join(f"{name}: {printable(problem)}" for problem in problems) or f"{name}: whole")
    return int(damaged)


@image.command()
@click.argument("names", nargs=-1, metavar="[IMAGE...]")
@click.option("-a", "--all", "everything", is_flag=True, help="Mount all images.")
@click.option("--format", "form", default="", type=click.Choice(["", "json"]), help="json: podman's fields.")
@click.pass_obj
def mount(settings: Mapping[str, str], names: tuple[str, ...], everything: bool, form: str) -> None:
    """Mount images read-only and print where; without IMAGE, list those that are mounted."""
    from prun.engines.embedded.image_mounts import mount_image, mounted_images
    from prun.engines.embedded.images import find

    if "entered" in settings:
        raise FailedPrecondition(
            "what an ordinary user mounts is gone at the end of this command", hint="prun unshare sh, and there again"
        )
    with opened(settings) as store:
        rows = store.metadata.images() if everything else [find(store, name) for name in names]
        if names or everything:
            found = [(row, mount_image(store, row)) for row in rows]
        else:
            paths = mounted_images(store)
            found = [(row, paths[row.digest]) for row in store.metadata.images() if row.digest in paths]
    if form:
        print(json.dumps([_mounted(row, path) for row, path in found], indent=1))
        return
    for row, path in found:
        print(path if len(names) == 1 else f"{printable(row.name)} {path}")


def _mounted(row: ImageRow, path: str) -> dict[str, object]:
    names = [row.name] if row.name != row.digest else []
    return {"id": row.digest.partition(":")[2], "Repositories": names, "mountpoint": path}


@image.command()
@click.argument("name", metavar="IMAGE")
@click.argument("names", nargs=-1, metavar="[NAME...]")
@click.pass_obj
def untag(settings: Mapping[str, str], name: str, names: tuple[str, ...]) -> None:
    """Take names from an image, all of them by default; it stays, without a name if need be."""
    from prun.engines.embedded.images import untag

    with opened(settings) as store:
        untag(store, name, names)


@image.command()
@click.argument("names", nargs=-1, metavar="[IMAGE...]")
@click.option("-a", "--all", "everything", is_flag=True, help="Unmount all images.")
@click.option("-f", "--force", is_flag=True, help="One that is not mounted is no error.")
@click.pass_obj
def unmount(settings: Mapping[str, str], names: tuple[str, ...], everything: bool, force: bool) -> None:
    """Unmount images."""
    from prun.engines.embedded.image_mounts import mounted_images, unmount_image
    from prun.engines.embedded.images import find

    if everything == bool(names):
        raise InvalidArgument("either IMAGE or --all is needed", hint="prun image unmount IMAGE..., or --all")
    with opened(settings) as store:
        for digest in mounted_images(store) if everything else [find(store, name).digest for name in names]:
            if not unmount_image(store, digest) and not force:
                raise FailedPrecondition(f"image {digest} is not mounted", hint="prun image mount lists those that are")
            print(digest)


image.add_command(unmount, "umount")


@image.command()
@click.option("-a", "--all", "everything", is_flag=True, help="All that no container uses, not only <none>.")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@filter_option(*_PRUNE_FILTERS, short="")
@click.pass_obj
def prune(settings: Mapping[str, str], everything: bool, force: bool, filters: tuple[str, ...]) -> None:
    """Remove images that nothing uses."""
    if not force:
        which = "all images without at least one container associated to them" if everything else "all dangling images"
        click.confirm(f"WARNING! This will remove {which}.\nAre you sure you want to continue?", abort=True)
    with opened(settings) as store:
        gone = pruned(store, filters, everything=everything)
    if lines := gone.lines():
        print("\n".join(["Deleted Images:", *lines, ""]))
    print(f"Total reclaimed space: {size(gone.size_bytes)}")


def pruned(store: Store, filters: Sequence[str], *, everything: bool) -> Removed:
    """Remove the images that no container uses and that fit; only ``<none>`` without ``everything``."""
    from prun.engines.embedded.garbage import drop, unused

    words = filters if everything else ("dangling=true", *filters)
    wanted = {each.row.name for each in chosen(store, words)}
    with store.removing_images():
        return drop(store, [row.name for row in unused(store) if row.name in wanted])
