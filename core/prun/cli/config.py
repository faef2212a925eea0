"""``config show``, ``check``, ``init``, ``schema`` and ``from-docker``: what files say, and whether they may."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import click

from prun.cli.output import printable, printable_lines
from prun.cli.run import check_combination, request_of, runner_of
from prun.config import NAME, user_file
from prun.config.choosing import Chooser
from prun.config.deep import value_faults
from prun.config.faults import InvalidConfig
from prun.config.files import distrusted
from prun.config.showing import Shown, in_force
from prun.config.starter import STARTER
from prun.config.writing import toml_key, toml_value
from prun.errors import AlreadyExists, InvalidArgument, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from prun.api import Runner
    from prun.config.faults import Fault
    from prun.config.files import Document


@click.group()
def config() -> None:
    """Look at what prun.toml says: show, check, init, schema, from-docker."""


@config.command()
@click.argument("name", default="", metavar="[RUN]")
@click.option("--origin", is_flag=True, help="Say with each value where it stands: FILE:LINE.")
@click.option("--profile", "profiles", multiple=True, metavar="NAME", help="Show what a run with a profile gets.")
@click.option("--format", "form", type=click.Choice(("text", "json")), default="text", help="How it is printed.")
@click.pass_obj
def show(settings: Mapping[str, str], name: str, origin: bool, profiles: tuple[str, ...], form: str) -> None:
    """Print each value in force; with RUN or --profile, what such a run gets."""
    runner = runner_of(settings)
    if name or profiles:
        shown = list(_of_run(runner, name, profiles))
    else:
        shown = [*_top(runner, settings), *in_force(runner.settings.documents)]
    if form == "json":
        rows = [{"key": toml_key(each.key), "value": each.value, "origin": each.origin} for each in shown]
        print(json.dumps(rows, indent=2, default=str))
        return
    for each in shown:
        where = f"{each.origin}\t" if origin else ""
        print(printable_lines(f"{where}{toml_key(each.key)} = {toml_value(each.value)}"))
    if found := runner.settings.found:
        reason = distrusted(found) or "nobody named or trusts it: only what is asked for by name counts"
        print(printable(f"# {found}: {reason}"))


def _top(runner: Runner, settings: Mapping[str, str]) -> Iterator[Shown]:
    for key in ("engine", "root", "runtime", "state"):
        origin = "default"
        for document in runner.settings.documents:
            if key in document.table:
                origin = f"{document.path}:{document.line((key,))}"
        variable = f"PRUN_{key.upper()}"
        origin = variable if os.environ.get(variable) else origin
        yield Shown((key,), getattr(runner, key), f"--{key}" if settings.get(key) else origin)


def _of_run(runner: Runner, name: str, profiles: Sequence[str]) -> Iterator[Shown]:
    chooser = Chooser(runner.settings)
    document = chooser.run(name) if name else None
    if name and document is None:
        raise NotFound(f"no file has a [run.{name}]{chooser.unused}", hint="prun config show")
    layered = chooser.layers(name, document, profiles)
    values = {"image": layered.image, "command": layered.command, **layered.options}
    for key, origins in layered.origins.items():
        yield Shown((key,), values[key], ", ".join(f"{each.file}:{each.line}" for each in origins))


@config.command()
@click.argument("file", default="", metavar="[FILE]")
@click.pass_obj
def check(settings: Mapping[str, str], file: str) -> None:
    """Say everything that is wrong with the files in force, or with one more, whether it is asked for or not."""
    runner = runner_of({**settings, "config": file} if file else settings)
    documents = list(runner.settings.documents)
    if not file:
        documents += Chooser(runner.settings).found
    checked = [each for each in documents if not file or os.path.samefile(each.path, file)]
    faults = [fault for each in checked for fault in (value_faults(each) or _runs_wrong(each, runner))]
    if faults:
        raise InvalidConfig(faults)
    for each in checked:
        runs, named = len(each.table.get("run", {})), len(each.table.get("profiles", {}))
        print(printable(f"{each.path}: {runs} runs, {named} profiles, nothing is wrong"))
    if not checked:
        print("there is no file")


def _runs_wrong(document: Document, runner: Runner) -> Iterator[Fault]:
    """Yield what is wrong with runs as wholes: options that contradict each other, no image."""
    for name in document.table.get("run", {}):
        layered = Chooser(runner.settings).layers(name, document, ())
        if not layered.image and "rootfs" not in layered.options:
            yield document.fault(("run", name), f"[run.{name}] has no image", "image or rootfs, or a profile with one")
            continue
        words = (layered.image, *layered.command) if layered.image else layered.command
        try:
            check_combination(request_of(layered.options, words, runner))
        except InvalidArgument as error:
            yield document.fault(("run", name), f"[run.{name}]: {error}", error.hint)
        except NotFound:  # a file that is there when it is run
            continue


@config.command()
@click.argument("file", default="", metavar="[FILE]")
@click.option("--user", is_flag=True, help="Write your own file, for every directory.")
def init(file: str, user: bool) -> None:
    """Write a commented file to begin with: ./prun.toml, FILE, or your own."""
    if user and file:
        raise InvalidArgument("conflicting options: cannot specify both FILE and --user")
    path = user_file() if user else file or NAME
    if user:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError as error:
        raise AlreadyExists(f"{path} is there already", hint="prun config check looks at it") from error
    except OSError as error:
        raise InvalidArgument(f"{path} cannot be written: {error.strerror}") from error
    with open(fd, "w", encoding="utf-8") as out:
        out.write(STARTER)
    print(printable(path))


@config.command()
def schema() -> None:
    """Print the JSON Schema of prun.toml."""
    from prun.config.published import json_schema

    print(json.dumps(json_schema(), indent=1))


@config.command("from-docker", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--name", default="", metavar="NAME", help="What the run is called (default: --name, or the image's).")
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND_LINE")
def convert(name: str, words: tuple[str, ...]) -> None:
    """Print the [run.NAME] for a command line of docker run or podman run.

    COMMAND_LINE is one text in quotes, as a shell reads it, or the words themselves. Of a text variables stay
    variables.
    """
    from prun.cli.from_docker import from_docker

    print(printable_lines(from_docker(words, name)), end="")
