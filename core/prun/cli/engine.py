"""Commands for an engine other than our own store: on its images, and on containers, whose records are ours.

What is not in these tables is refused by name: an engine does it, or says that it does not.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from prun.cli.archives import SIGNATURE_POLICY
from prun.cli.imagerows import SORT_KEYS, chosen, listed
from prun.cli.images import IMAGES_COLUMNS
from prun.cli.listing import FORMAT, RECORD_FORMAT, print_listing, print_records
from prun.cli.progress import FORMS, shown
from prun.cli.registries import access_of, with_access
from prun.cli.run import runner_of, wanted_platform
from prun.errors import InvalidArgument, NotFound, PrunError, Unimplemented

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

# Their containers are found in our own store, and each says which engine has it; or they are about none.
OF_CONTAINERS = frozenset(
    (
        *("attach", "container", "events", "exec", "healthcheck", "kill", "logs", "pause", "port", "ps", "rename"),
        *("restart", "rm", "start", "stats", "stop", "top", "unpause", "update", "wait"),
        *("completion", "doctor", "login", "logout", "plugins", "secret", "tags", "referrers", "version", "volume"),
    )
)


def invoke(engine: str, words: Sequence[str], settings: Mapping[str, str]) -> int:
    """Run a command for an engine.

    Raises:
        Unimplemented: the engine does not do that; nothing has changed.
        InvalidArgument: the words are none of the command's.
    """
    from prun.cli.commands import invoke as invoke_command

    _ = runner_of(settings).engine_options  # says what is wrong with the engine and its options
    name = words[0]
    if name == "exec":
        from prun.cli import execution

        return execution.execute(words[1:], settings)
    if name in OF_CONTAINERS:
        return invoke_command(words, settings)
    called = name
    if name == "image" and len(words) > 1:
        called = f"image {words[1]}"
        name, words = {"ls": "images", "list": "images", "rm": "rmi"}.get(words[1], words[1]), words[1:]
    if name not in IMAGES:
        raise Unimplemented(
            f"engine {engine} does not support prun {called}", hint=f"of images: {', '.join(sorted(IMAGES))}"
        )
    return invoke_command(words, settings, IMAGES[name])


@click.command()
@click.argument("reference", default="", metavar="[REPOSITORY[:TAG]]")
@FORMAT
@click.option("-q", "--quiet", is_flag=True, help="Print only the ids.")
@click.option("--no-trunc", is_flag=True, help="Do not shorten ids.")
@click.pass_obj
def images(settings: Mapping[str, str], reference: str, form: str, quiet: bool, no_trunc: bool) -> None:
    """List images."""
    store = runner_of(settings).images.store
    found = chosen(store, [f"reference={reference}"] if reference else ())
    rows = [listed(store, each, no_trunc=no_trunc) for each in sorted(found, key=SORT_KEYS["created"])]
    if quiet:
        rows = list({row["ID"]: row for row in rows}.values())
    print_listing(rows, IMAGES_COLUMNS, form, quiet="ID" if quiet else "")


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@RECORD_FORMAT
@click.pass_obj
def inspect(settings: Mapping[str, str], names: tuple[str, ...], form: str) -> None:
    """Show all that is known of containers and images, as JSON."""
    print_records([_inspected(settings, name) for name in names], form, indent=2)


def _inspected(settings: Mapping[str, str], name: str) -> dict[str, Any]:
    from prun.cli.images import opened
    from prun.cli.inspection import inspect_container
    from prun.cli.inspection.image import inspect_image
    from prun.engines.embedded.images import find

    with opened(settings) as store:
        try:
            return inspect_container(store, store.find(name), sizes=False)
        except NotFound:
            pass
    images = runner_of(settings).images.store
    return inspect_image(images, find(images, name))


@click.command()
@click.argument("source", default="-", metavar="[SOURCE]")
@click.option("-i", "--input", "path", default="", metavar="FILE", help="Read this archive.")
@click.option("--tag", default="", metavar="REF", help="Name the image; needed where the source gives no name.")
@click.option("--no-unpack", is_flag=True, help="Leave the layers to the first run.")
@click.option("-q", "--quiet", is_flag=True, help="Print only the names.")
@SIGNATURE_POLICY
@click.pass_obj
def load(
    settings: Mapping[str, str],
    source: str,
    path: str,
    tag: str,
    no_unpack: bool,
    quiet: bool,
    signature_policy: str,
) -> None:
    """Load images from an archive or a layout."""
    if path:
        if source != "-":
            raise InvalidArgument("--input and SOURCE are both given", hint="either names what to load")
        source = path if "/" in path else f"./{path}"
    stdin = sys.stdin.buffer if source == "-" else None
    runner = runner_of(settings)
    policy = signature_policy or runner.settings.signature_policy
    for row in runner.images.load(source, tag=tag, unpack=not no_unpack, stdin=stdin, signature_policy=policy):
        print(row.name if quiet else f"Loaded image: {row.name}")


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="IMAGE...")
@click.option("-f", "--force", is_flag=True, help="All names of an id; what a container uses; a missing one, too.")
@click.pass_obj
def rmi(settings: Mapping[str, str], names: tuple[str, ...], force: bool) -> None:
    """Remove images: by name, by id or its beginning, by digest."""
    service = runner_of(settings).images
    failures: list[PrunError] = []
    for name in names:
        try:
            print("\n".join(f"Untagged: {each}" for each in service.remove(name, force=force)))
        except NotFound as error:
            failures += [] if force else [error]
        except PrunError as error:
            failures.append(error)
    if failures:
        raise failures[0] if len(failures) == 1 else type(failures[0])("; ".join(map(str, failures)))


@click.command()
@click.argument("source", metavar="IMAGE")
@click.argument("names", nargs=-1, required=True, metavar="NAME[:TAG]...")
@click.pass_obj
def tag(settings: Mapping[str, str], source: str, names: tuple[str, ...]) -> None:
    """Give an image another name."""
    service = runner_of(settings).images
    for name in names:
        service.tag(source, name)


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME[:TAG|@DIGEST]...")
@click.option("--all-platforms", is_flag=True, help="Fetch the image for every platform that it is made for.")
@click.option("--platform", default="", metavar="OS/ARCH[/VARIANT]", help="Another one than this machine's.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing of what is going on.")
@click.option("--progress", type=click.Choice(FORMS), default="auto", help="How to say on stderr what is going on.")
@SIGNATURE_POLICY
@click.option("--creds", default="", metavar="NAME[:PASSWORD]", help="Who to be; asks for the password.")
@with_access
@click.pass_obj
def pull(
    settings: Mapping[str, str],
    /,
    names: tuple[str, ...],
    all_platforms: bool,
    platform: str,
    quiet: bool,
    progress: str,
    signature_policy: str,
    creds: str,
    **places: str,
) -> None:
    """Fetch images from a registry, and print their full names."""
    if all_platforms and platform:
        raise InvalidArgument("--all-platforms and --platform cannot both be", hint="leave one out")
    wanted, access = wanted_platform(platform), access_of(creds, places)
    runner = runner_of(settings)
    for name in names:
        with shown(progress, quiet=quiet) as listener:
            row = runner.images.pull(
                name,
                runner.settings,
                platform=wanted,
                everything=all_platforms,
                access=access,
                listener=listener,
                signature_policy=signature_policy or None,
            )
        print(row.name, flush=True)


IMAGES: Mapping[str, click.Command] = {
    "images": images, "inspect": inspect, "load": load, "pull": pull, "rmi": rmi, "tag": tag,
}  # fmt: skip
