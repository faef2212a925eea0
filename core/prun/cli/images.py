"""``images``, ``rmi``, ``tag``, ``history``."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from prun.cli.filters import filter_option
from prun.cli.imagerows import FILTERS, SORT_KEYS, chosen, history_rows, listed
from prun.cli.listing import FORMAT, print_listing
from prun.cli.run import runner_of
from prun.errors import InvalidArgument, NotFound, PrunError
from prun.state import Store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


IMAGES_COLUMNS = {"REPOSITORY": "Repository", "TAG": "Tag", "IMAGE ID": "ID", "CREATED": "CreatedSince", "SIZE": "Size"}


@contextmanager
def opened(settings: Mapping[str, str]) -> Iterator[Store]:
    """Open the store that the global options choose, and clean up after dead processes first."""
    from prun.recovery import recover

    runner = runner_of(settings)
    with Store(runner.root, runner.state, runner.settings.aliases) as store:
        recover(store)
        yield store


@click.command()
@click.argument("reference", default="", metavar="[REPOSITORY[:TAG]]")
@click.option("-a", "--all", "everything", is_flag=True, help="Show what only containers still need, too.")
@filter_option(*FILTERS)
@FORMAT
@click.option("-q", "--quiet", is_flag=True, help="Print only the ids.")
@click.option("--no-trunc", is_flag=True, help="Do not shorten ids.")
@click.option("--digests", is_flag=True, help="Show digests.")
@click.option("-n", "--noheading", is_flag=True, help="Leave out the line of headings.")
@click.option("--sort", default="created", type=click.Choice(sorted(SORT_KEYS)), help="In which order.")
@click.pass_obj
def images(
    settings: Mapping[str, str],
    reference: str,
    everything: bool,
    filters: tuple[str, ...],
    form: str,
    quiet: bool,
    no_trunc: bool,
    digests: bool,
    noheading: bool,
    sort: str,
) -> None:
    """List images."""
    from prun.engines.embedded.garbage import nameless

    words = (*filters, f"reference={reference}") if reference else filters
    with opened(settings) as store:
        found = chosen(store, words, more=nameless(store) if everything else ())
        rows = [listed(store, each, no_trunc=no_trunc) for each in sorted(found, key=SORT_KEYS[sort])]
    columns = dict(IMAGES_COLUMNS)
    if digests:
        columns = {"REPOSITORY": "Repository", "TAG": "Tag", "DIGEST": "Digest", **columns}
    if quiet:
        rows = list({row["ID"]: row for row in rows}.values())
    print_listing(rows, columns, form, quiet="ID" if quiet else "", heading=not noheading)


@click.command()
@click.argument("names", nargs=-1, metavar="IMAGE...")
@click.option("-a", "--all", "everything", is_flag=True, help="Remove all images.")
@click.option(
    "-f", "--force", is_flag=True, help="All names of an id; what a stopped container uses; a missing one is no error."
)
@click.option("-i", "--ignore", is_flag=True, help="A missing one is no error.")
@click.pass_obj
def rmi(settings: Mapping[str, str], names: tuple[str, ...], everything: bool, force: bool, ignore: bool) -> None:
    """Remove images: by name, by id or its beginning, by digest."""
    from prun.engines.embedded.garbage import remove

    if everything == bool(names):
        raise InvalidArgument("either IMAGE or --all is needed", hint="prun rmi IMAGE..., or prun rmi --all")
    failures: list[PrunError] = []
    with opened(settings) as store:
        for name in names or [row.name for row in store.metadata.images()]:
            try:
                print("\n".join(remove(store, name, force=force).lines()))
            except NotFound as error:
                if not force and not ignore:
                    failures.append(error)
            except PrunError as error:
                failures.append(error)
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise type(failures[0])("; ".join(map(str, failures)))


@click.command()
@click.argument("source", metavar="IMAGE")
@click.argument("names", nargs=-1, required=True, metavar="NAME[:TAG]...")
@click.pass_obj
def tag(settings: Mapping[str, str], source: str, names: tuple[str, ...]) -> None:
    """Give an image another name."""
    from prun.engines.embedded.images import tag

    with opened(settings) as store:
        for name in names:
            tag(store, source, name)


@click.command()
@click.argument("name", metavar="IMAGE")
@FORMAT
@click.option("-H", "--human/--no-human", default=True, help="Sizes and times for a person (the default).")
@click.option("-q", "--quiet", is_flag=True, help="Print only the ids.")
@click.option("--no-trunc", is_flag=True, help="Do not shorten ids and instructions.")
@click.option("--platform", default="", metavar="OS[/ARCH[/VARIANT]]", help="Of this platform.")
@click.pass_obj
def history(
    settings: Mapping[str, str], name: str, form: str, human: bool, quiet: bool, no_trunc: bool, platform: str
) -> None:
    """Show how an image came to be, the last step first."""
    from prun.engines.embedded.images import describe, find
    from prun.image.platform import parse_platform

    with opened(settings) as store:
        row = find(store, name)
        found = describe(store, row, parse_platform(platform) if platform else None)
        rows = history_rows(store, row, found, no_trunc=no_trunc, human=human)
    columns: dict[str, Any] = {"IMAGE": "ID", "CREATED": "CreatedSince" if human else "CreatedAt",
                               "CREATED BY": "CreatedBy", "SIZE": "Size", "COMMENT": "Comment"}  # fmt: skip
    print_listing(rows, columns, form, quiet="ID" if quiet else "")
