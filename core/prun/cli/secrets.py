"""``secret create``, ``ls``, ``inspect``, ``rm``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from prun.cli.listing import FORMAT, RECORD_FORMAT, print_listing, print_records
from prun.cli.output import ago, timestamp
from prun.cli.run import runner_of
from prun.cli.template.values import Pairs
from prun.errors import InvalidArgument, NotFound
from prun.secrets import LIMIT_BYTES, Secret, Secrets

if TYPE_CHECKING:
    from collections.abc import Mapping


@click.group()
def secret() -> None:
    """Keep secrets for containers (run --secret)."""


@secret.command()
@click.argument("name")
@click.argument("source", metavar="FILE|-")
@click.option("--env", "from_env", is_flag=True, help="FILE is the name of an environment variable that has the data.")
@click.pass_obj
def create(settings: Mapping[str, str], name: str, source: str, from_env: bool) -> None:
    """Keep the content of a file, or of stdin, as a secret."""
    data = _variable(source) if from_env else _content(source)
    print(_opened(settings).create(name, data).id)


@secret.command(name="ls")
@click.option("-q", "--quiet", is_flag=True, help="Print only the ids.")
@FORMAT
@click.pass_obj
def list_(settings: Mapping[str, str], quiet: bool, form: str) -> None:
    """List secrets."""
    found = _opened(settings).all()
    rows: list[dict[str, Any]] = [
        {"ID": each.id, "Name": each.name, "Driver": "file", "Created": timestamp(each.created_at),
         "CreatedAt": ago(each.created_at), "UpdatedAt": ago(each.created_at), "Labels": Pairs()}
        for each in found
    ]  # fmt: skip
    columns = {"ID": "ID", "NAME": "Name", "DRIVER": "Driver", "CREATED": "CreatedAt"}
    print_listing(rows, columns, form, quiet="ID" if quiet else "")


@secret.command()
@click.argument("names", nargs=-1, required=True, metavar="SECRET...")
@click.option("--showsecret", is_flag=True, help="Show the data too.")
@RECORD_FORMAT
@click.pass_obj
def inspect(settings: Mapping[str, str], names: tuple[str, ...], showsecret: bool, form: str) -> None:
    """Show all that is known of secrets, as JSON; their data only when asked."""
    kept = _opened(settings)
    print_records([_inspected(kept.find(name), showsecret) for name in names], form)


@secret.command()
@click.argument("names", nargs=-1, metavar="SECRET...")
@click.option("-a", "--all", "everything", is_flag=True, help="Remove all secrets.")
@click.pass_obj
def rm(settings: Mapping[str, str], names: tuple[str, ...], everything: bool) -> None:
    """Remove secrets; containers that have them keep them."""
    if everything == bool(names):
        raise InvalidArgument("name the secrets, or give --all" if not names else "--all takes no names")
    kept = _opened(settings)
    for each in kept.all() if everything else [kept.find(name) for name in names]:
        kept.remove(each)
        print(each.id)


def _opened(settings: Mapping[str, str]) -> Secrets:
    return Secrets(runner_of(settings).root)


def _variable(name: str) -> bytes:
    value = os.environ.get(name)
    if value is None:
        raise NotFound(f"environment variable {name!r} is not set")
    return os.fsencode(value)


def _content(source: str) -> bytes:
    """Read a file or stdin, no more than it takes to see that it is too long."""
    if source == "-":
        return sys.stdin.buffer.read(LIMIT_BYTES)
    try:
        with open(source, "rb") as file:
            return file.read(LIMIT_BYTES)
    except OSError as error:
        raise NotFound(f"secret file {source!r} cannot be read: {error.strerror}") from error


def _inspected(each: Secret, showsecret: bool) -> dict[str, Any]:
    """Return podman's fields."""
    shown = {
        "ID": each.id,
        "CreatedAt": timestamp(each.created_at),
        "UpdatedAt": timestamp(each.created_at),
        "Spec": {"Name": each.name, "Driver": {"Name": "file", "Options": Pairs()}, "Labels": Pairs()},
    }
    return {**shown, "SecretData": each.data.decode(errors="replace")} if showsecret else shown
