"""``inspect``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from prun.cli.images import opened
from prun.cli.listing import RECORD_FORMAT, print_records
from prun.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prun.state import Store

SIZE = click.option("-s", "--size", "sizes", is_flag=True, help="Say how much containers have written, too.")


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--type", "kind", type=click.Choice(["container", "image", "volume"]), help="Look only for one of these.")
@SIZE
@RECORD_FORMAT
@click.pass_obj
def inspect(settings: Mapping[str, str], names: tuple[str, ...], kind: str | None, sizes: bool, form: str) -> None:
    """Show all that is known of containers, images and volumes, as JSON."""
    show(settings, names, (kind,) if kind else ("container", "image", "volume"), form, sizes=sizes)


def show(
    settings: Mapping[str, str], names: Sequence[str], kinds: Sequence[str], form: str, *, sizes: bool = False
) -> None:
    """Print what is known of each name, found as the first of ``kinds`` that there is.

    Raises:
        NotFound: nothing of these kinds has the name.
        InvalidArgument: sizes are asked for, and are of containers only.
    """
    if sizes and "container" not in kinds:
        raise InvalidArgument("--size is for containers", hint="leave it out")
    with opened(settings) as store:
        records = [_inspected(store, name, kinds, sizes=sizes) for name in names]
    print_records(records, form, indent=2)


def _inspected(store: Store, name: str, kinds: Sequence[str], *, sizes: bool) -> dict[str, Any]:
    missing: NotFound | None = None
    for kind in kinds:
        try:
            return _of_kind(store, name, kind, sizes=sizes)
        except NotFound as error:
            missing = error
    if len(kinds) == 1 and missing:
        raise missing
    raise NotFound(f"no such container, image or volume: {name}", hint="prun ps -a, prun images and prun volume ls")


def _of_kind(store: Store, name: str, kind: str, *, sizes: bool) -> dict[str, Any]:
    if kind == "container":
        from prun.cli.inspection import inspect_container

        return inspect_container(store, store.find(name), sizes=sizes)
    if kind == "image":
        from prun.cli.inspection.image import inspect_image
        from prun.engines.embedded import images

        return inspect_image(store, images.find(store, name))
    from prun.cli.volumes import inspected

    return inspected(store, store.volumes.find(name))
