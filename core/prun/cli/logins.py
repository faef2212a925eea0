"""``login``, ``logout``."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import click

from prun.cli.registries import access_of, with_access
from prun.cli.run import runner_of
from prun.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prun.engines.embedded.pulling import Access
    from prun.image.registry.auth import Login

_MAX_PASSWORD_BYTES = 64 << 10


@click.command()
@click.argument("registry", default="docker.io")
@click.option("-u", "--username", default="", metavar="NAME", help="Who you are there.")
@click.option("-p", "--password", default="", help="Everybody on this machine may see it: better --password-stdin.")
@click.option("--password-stdin", is_flag=True, help="Read the password from stdin.")
@click.option("--get-login", is_flag=True, help="Print who you are there, and log in nobody.")
@with_access
@click.pass_obj
def login(
    settings: Mapping[str, str],
    /,
    registry: str,
    username: str,
    password: str,
    password_stdin: bool,
    get_login: bool,
    **places: str,
) -> None:
    """Log in to a registry: check a name and password, and keep them where docker does."""
    from prun.image.registry.credentials import find_login, store_login

    registry = _registry_name(registry)
    access = access_of("", places)
    known = find_login(registry, access.auth_file)
    if get_login:
        if not known.username:
            raise NotFound(f"nobody is logged in to {registry}", hint=f"prun login {registry}")
        print(known.username)
        return
    if password and password_stdin:
        raise InvalidArgument("--password and --password-stdin cannot both be", hint="leave one out")
    given = _asked_for(username, password, known.username, from_stdin=password_stdin)
    _check(settings, registry, access._replace(login=given))
    print(f"Kept in {store_login(registry, given, access.auth_file)}", file=sys.stderr)
    print("Login Succeeded")


@click.command()
@click.argument("registry", default="")
@click.option("-a", "--all", "everything", is_flag=True, help="Forget all logins.")
@click.option("--authfile", default="", metavar="FILE", help="Look for logins in this file (REGISTRY_AUTH_FILE).")
def logout(registry: str, everything: bool, authfile: str) -> None:
    """Forget the login of a registry."""
    from prun.image.registry.credentials import remove_logins

    if everything and registry:
        raise InvalidArgument(f"--all and {registry!r} cannot both be", hint="leave one out")
    wanted = "" if everything else _registry_name(registry or "docker.io")
    removed = remove_logins(wanted, authfile)
    for name in removed:
        print(f"Removing login credentials for {name}")
    if not removed:
        print(f"Not logged in to {wanted or 'any registry'}")


def _registry_name(words: str) -> str:
    """Return the host, and the path of a repository if there is one, of what a user may call a registry."""
    from prun.image.reference import DOMAIN, PATH

    name = re.sub(r"^https?://|/v[12]/?$|/+$", "", words)
    name = "docker.io" if name == "index.docker.io" else name
    if not re.fullmatch(f"{DOMAIN}(?:/{PATH})?", name):
        raise InvalidArgument(f"registry {words[:200]!r} is no host", hint="HOST[:PORT], as in registry.example.com")
    return name


def _asked_for(username: str, password: str, known: str, *, from_stdin: bool) -> Login:
    """Return name and password, asking a person for what is missing."""
    from prun.image.registry.auth import Login

    if from_stdin:
        if not username:
            raise InvalidArgument("--password-stdin needs --username")
        data = sys.stdin.buffer.read(_MAX_PASSWORD_BYTES + 1)
        try:
            password = data.decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise InvalidArgument("the password on stdin is not UTF-8") from error
        if not password or len(data) > _MAX_PASSWORD_BYTES:
            raise InvalidArgument(f"the password on stdin is empty, or longer than {_MAX_PASSWORD_BYTES} bytes")
    if not (username and password) and not sys.stdin.isatty():
        raise InvalidArgument("there is no terminal to ask on", hint="--username NAME --password-stdin")
    username = username or click.prompt("Username", default=known or None, err=True)
    if ":" in username:
        raise InvalidArgument(f"user name {username!r} has a colon in it", hint="RFC 7617 has no way to send that")
    return Login(username, password or click.prompt("Password", hide_input=True, err=True))


def _check(settings: Mapping[str, str], registry: str, access: Access) -> None:
    """Ask the registry whether it takes the login."""
    from prun.engines.embedded.pulling import open_registry
    from prun.image.registry.endpoint import host_endpoint
    from prun.image.registry.progress import Reporter

    rules = runner_of(settings).settings.registries.values()
    endpoint = host_endpoint(registry.partition("/")[0], rules, tls_verify=access.tls_verify)
    open_registry(endpoint, access, Reporter()).ping()
