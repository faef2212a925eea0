"""``pull``, ``push``, ``tags``, ``referrers``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

import click

from prun.cli.archives import SIGNATURE_POLICY
from prun.cli.images import opened
from prun.cli.listing import FORMAT, print_listing
from prun.cli.progress import FORMS, shown
from prun.cli.run import runner_of, wanted_platform
from prun.errors import InvalidArgument, PermissionDenied

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from prun.engines.embedded.pulling import Access
    from prun.image.reference import Reference
    from prun.image.registry.client import Registry

POLICIES = ("always", "missing", "never", "newer")
Command = TypeVar("Command", bound="Callable[..., object]")

_ACCESS = (
    click.option("--authfile", default="", metavar="FILE", help="Look for logins in this file (REGISTRY_AUTH_FILE)."),
    click.option("--cert-dir", default="", metavar="DIR", help="Look for certificates in this directory."),
    click.option(
        "--tls-verify", type=bool, default=None, metavar="BOOL", help="false: any certificate, and plain HTTP, will do."
    ),
)
_CREDENTIALS = click.option("--creds", default="", metavar="NAME[:PASSWORD]", help="Who to be; asks for the password.")
_QUIET = click.option("-q", "--quiet", is_flag=True, help="Say nothing of what is going on.")
_PROGRESS = click.option(
    "--progress", type=click.Choice(FORMS), default="auto", help="How to say on stderr what is going on."
)
_PLATFORM = click.option("--platform", default="", metavar="OS/ARCH[/VARIANT]", help="Another one than this machine's.")


def with_access(command: Command) -> Command:
    """Add the options of how to get at a registry."""
    for option in reversed(_ACCESS):
        command = option(command)
    return command


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME[:TAG|@DIGEST]...")
@click.option("-a", "--all-tags", is_flag=True, help="Fetch every tag of the repository.")
@click.option("--policy", type=click.Choice(POLICIES), default="always", help="When to ask the registry.")
@click.option("--all-platforms", is_flag=True, help="Fetch the image for every platform that it is made for.")
@_PLATFORM
@_QUIET
@_PROGRESS
@SIGNATURE_POLICY
@_CREDENTIALS
@with_access
@click.pass_obj
def pull(
    settings: Mapping[str, str],
    /,
    names: tuple[str, ...],
    all_tags: bool,
    policy: str,
    all_platforms: bool,
    platform: str,
    quiet: bool,
    progress: str,
    signature_policy: str,
    creds: str,
    **places: str,
) -> None:
    """Fetch an image from a registry, or several, and print their full names."""
    from prun.engines.embedded.pulling import pull_image, pull_unless

    if all_platforms and platform:
        raise InvalidArgument("--all-platforms and --platform cannot both be", hint="leave one out")
    wanted, access = wanted_platform(platform), access_of(creds, places)
    registries = runner_of(settings).settings
    if all_tags:
        names = tuple(word for name in names for word in _all_tags(settings, name, access))
    for name in names:
        with opened(settings) as store, shown(progress, quiet=quiet) as listener:
            fetch = partial(
                pull_image,
                store,
                name,
                registries,
                platform=wanted,
                everything=all_platforms,
                access=access,
                listener=listener,
                signature_policy=signature_policy or None,
            )
            row = pull_unless(policy, store, name, wanted, fetch)
        print(row.name, flush=True)


@click.command()
@click.argument("image", metavar="IMAGE")
@click.argument("destination", default="", metavar="[NAME[:TAG]]")
@click.option("--digestfile", default="", metavar="FILE", help="Write the digest to a file.")
@click.option("--platform", default="", metavar="OS/ARCH[/VARIANT]", help="Send the image for one platform only.")
@_QUIET
@_PROGRESS
@_CREDENTIALS
@with_access
@click.pass_obj
def push(
    settings: Mapping[str, str],
    /,
    image: str,
    destination: str,
    digestfile: str,
    platform: str,
    quiet: bool,
    progress: str,
    creds: str,
    **places: str,
) -> None:
    """Send an image to a registry, under its own name or another."""
    from prun.engines.embedded.pushing import push_image
    from prun.image.platform import parse_platform

    wanted, access = parse_platform(platform) if platform else None, access_of(creds, places)
    registries = runner_of(settings).settings
    with opened(settings) as store, shown(progress, quiet=quiet) as listener:
        pushed = push_image(
            store, image, registries, destination=destination, platform=wanted, access=access, listener=listener
        )
    if digestfile:
        _write(digestfile, pushed.digest)
    tag = pushed.name.rpartition(":")[2]
    print(pushed.name if quiet else f"{tag}: digest: {pushed.digest} size: {pushed.size_bytes}")


@click.command()
@click.argument("name")
@FORMAT
@_CREDENTIALS
@with_access
@click.pass_obj
def tags(settings: Mapping[str, str], /, name: str, form: str, creds: str, **places: str) -> None:
    """List the tags of a repository in a registry."""
    reference, client = _repository(settings, name, access_of(creds, places))
    repository = f"{reference.domain}/{reference.path}"
    rows = [{"Name": f"{repository}:{tag}", "Tag": tag} for tag in client.tags()]
    print_listing(rows, {"NAME": "Name", "TAG": "Tag"}, form)


@click.command()
@click.argument("name", metavar="NAME[:TAG|@DIGEST]")
@click.option("--artifact-type", default="", metavar="TYPE", help="List those of one type.")
@FORMAT
@_CREDENTIALS
@with_access
@click.pass_obj
def referrers(
    settings: Mapping[str, str], /, name: str, artifact_type: str, form: str, creds: str, **places: str
) -> None:
    """List what refers to an image in a registry: signatures, attestations and the like."""
    reference, client = _repository(settings, name, access_of(creds, places))
    digest = reference.digest or client.manifest(reference.tag).descriptor["digest"]
    rows = [
        {"Digest": each["digest"], "ArtifactType": each.get("artifactType", ""), "MediaType": each["mediaType"],
         "Size": each["size"], "Annotations": each.get("annotations", {})}
        for each in client.referrers(digest, artifact_type)["manifests"]
    ]  # fmt: skip
    print_listing(rows, {"DIGEST": "Digest", "TYPE": "ArtifactType", "SIZE": "Size"}, form)


def _all_tags(settings: Mapping[str, str], name: str, access: Access) -> list[str]:
    reference, client = _repository(settings, name, access)
    if name != reference.familiar.rpartition(":")[0] and (":" in name.rpartition("/")[2] or "@" in name):
        raise InvalidArgument("tag can't be used with --all-tags/-a", hint="name the repository alone")
    return [f"{reference.domain}/{reference.path}:{tag}" for tag in client.tags()]


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
    except OSError as error:
        raise PermissionDenied(f"--digestfile {path!r} cannot be written: {error.strerror}") from error


def _repository(settings: Mapping[str, str], name: str, access: Access) -> tuple[Reference, Registry]:
    """Return a client of the repository itself, no mirror of it: a mirror need not have all of it."""
    from prun.engines.embedded.pulling import open_registry
    from prun.image.reference import parse_reference
    from prun.image.registry.endpoint import endpoints
    from prun.image.registry.progress import Reporter

    known = runner_of(settings).settings
    reference = parse_reference(name, known.aliases)
    endpoint = endpoints(reference, known.registries.values(), tls_verify=access.tls_verify)[-1]
    return reference, open_registry(endpoint, access, Reporter())


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
