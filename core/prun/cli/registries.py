"""``pull``."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import click

from prun.cli.images import opened
from prun.cli.progress import FORMS, shown
from prun.cli.run import runner_of, wanted_platform
from prun.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from prun.engines.embedded.pulling import Access

Command = TypeVar("Command", bound="Callable[..., object]")

_ACCESS = (
    click.option("--authfile", default="", metavar="FILE", help="Look for logins in this file (REGISTRY_AUTH_FILE)."),
    click.option("--cert-dir", default="", metavar="DIR", help="Look for certificates in this directory."),
    click.option(
        "--tls-verify", type=bool, default=None, metavar="BOOL", help="false: believe any certificate, and plain HTTP."
    ),
)
_CREDENTIALS = click.option("--creds", default="", metavar="NAME[:PASSWORD]", help="Who to be; asks for the password.")
_QUIET = click.option("-q", "--quiet", is_flag=True, help="Say nothing of what is going on.")
_PROGRESS = click.option(
    "--progress", type=click.Choice(FORMS), default="auto", help="How to say on stderr what is going on."
)


def with_access(command: Command) -> Command:
    """Add the options of how to get at a registry."""
    for option in reversed(_ACCESS):
        command = option(command)
    return command


@click.command()
@click.argument("name", metavar="NAME[:TAG|@DIGEST]")
@click.option("--all-platforms", is_flag=True, help="Fetch the image for every platform that it is made for.")
@click.option("--platform", default="", metavar="OS/ARCH[/VARIANT]", help="Fetch it for another machine than this.")
@_QUIET
@_PROGRESS
@_CREDENTIALS
@with_access
@click.pass_obj
def pull(
    settings: Mapping[str, str],
    /,
    name: str,
    all_platforms: bool,
    platform: str,
    quiet: bool,
    progress: str,
    creds: str,
    **places: str,
) -> None:
    """Fetch an image from a registry."""
    from prun.engines.embedded.pulling import pull_image

    if all_platforms and platform:
        raise InvalidArgument("--all-platforms and --platform cannot both be", hint="leave one out")
    wanted = wanted_platform(platform)
    runner = runner_of(settings)
    with opened(settings) as store, shown(progress, quiet=quiet) as listener:
        row = pull_image(
            store,
            name,
            runner.settings,
            platform=wanted,
            everything=all_platforms,
            access=access_of(creds, places),
            listener=listener,
        )
    print(row.name)


def access_of(creds: str, places: Mapping[str, object]) -> Access:
    """Return what the options of ``with_access`` and ``--creds`` say."""
    from prun.engines.embedded.pulling import Access

    verify = places["tls_verify"]
    login = None
    if creds:
        from prun.image.registry.auth import Login

        name, colon, password = creds.partition(":")
        login = Login(name, password if colon else click.prompt("Password", hide_input=True, err=True))
    return Access(login, str(places["authfile"]), str(places["cert_dir"]), verify if isinstance(verify, bool) else None)
