"""``diff``, ``export``, ``cp``, ``commit``."""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import click

from prun.cli.images import opened
from prun.cli.output import printable, size, warn
from prun.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class WithBooleans(click.Command):
    """A command whose flags take ``=true`` and ``=false``, as docker's do: ``-a=false`` is ``--no-archive``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = {
            f"{spelling}={value}": (option.opts if on else option.secondary_opts)[-1]
            for option in self.params
            if option.secondary_opts
            for spelling in option.opts
            for value, on in (("true", True), ("false", False), ("1", True), ("0", False))
        }
        end = args.index("--") if "--" in args else len(args)
        return super().parse_args(ctx, [words.get(word, word) for word in args[:end]] + args[end:])


_KINDS = {"C": "changed", "A": "added", "D": "deleted"}


@click.command()
@click.argument("name", metavar="CONTAINER|IMAGE|FILE")
@click.argument("other", default="", metavar="[CONTAINER|IMAGE|FILE]")
@click.option("--format", "form", type=click.Choice(["json"]), default=None, help="How to show it, if not as lines.")
@click.option("--runs", is_flag=True, help="Of two containers, compare what made them, and not their files.")
@click.pass_obj
def diff(settings: Mapping[str, str], name: str, other: str, form: str | None, runs: bool) -> int:
    """Show what a container or an image has changed, or what differs between two runs.

    A is added, C changed, D deleted: in the container's image, in the layers below the image's topmost, or in the
    second of two.

    Where one of two is a file, a lock (run --lock) or a spec, or with --runs, what they were made from is compared,
    field by field: - only the first has it, + only the second, ! both. The exit code is 1 if anything differs.
    """
    from prun.cli.replay import are_documents, compare
    from prun.files import layers

    if runs and not other:
        raise InvalidArgument("--runs compares two", hint="prun diff --runs CONTAINER|FILE CONTAINER|FILE")
    if other and (runs or are_documents(settings, name, other)):
        return compare(settings, name, other, form)

    with opened(settings) as store:
        found = [(change.kind, f"/{os.fsdecode(change.path)}") for change in layers.diff(store, name, other)]
    if form == "json":
        lists = {word: [path for kind, path in found if kind == letter] for letter, word in _KINDS.items()}
        print(json.dumps({word: paths for word, paths in lists.items() if paths}, indent=2))
        return 0
    for kind, path in found:
        print(f"{kind} {printable(path)}")
    return 0


@click.command()
@click.argument("name", metavar="CONTAINER")
@click.option("-o", "--output", default="", metavar="FILE", help="Write to a file instead of standard output.")
@click.pass_obj
def export(settings: Mapping[str, str], name: str, output: str) -> None:
    """Write a container's files as a tar; what it has mounted, such as volumes, is none of them."""
    from prun.files import layers

    if not output and os.isatty(1):
        raise InvalidArgument("refusing to export to a terminal", hint="use -o FILE, or redirect")
    with opened(settings) as store:
        row = store.find(name)
        layers.require_layer(store, row)
        with _writable(output) as fd, open(fd, "wb", buffering=1 << 20, closefd=False) as file:
            layers.export(store, row.id, file.write)


@click.command(cls=WithBooleans)
@click.argument("source", metavar="[CONTAINER:]SRC_PATH|-")
@click.argument("target", metavar="[CONTAINER:]DEST_PATH|-")
@click.option(
    "-a", "--archive/--no-archive", default=True,
    help="In a container, files belong to its user (the default), or, with =false, to whom they belonged to.",
)  # fmt: skip
@click.option("-L", "--follow-link", "follow", is_flag=True, help="Copy what a link leads to, not the link.")
@click.option("--overwrite", is_flag=True, help="Let a file take a directory's place, and the other way round.")
@click.option("-q", "--quiet", is_flag=True, help="Do not say on the terminal what was copied.")
@click.pass_obj
def cp(
    settings: Mapping[str, str], source: str, target: str, archive: bool, follow: bool, overwrite: bool, quiet: bool
) -> None:
    """Copy files between a container and this machine.

    With - for a path, a tar is read from standard input and unpacked, or written to standard output.
    """
    from prun.files.copying import CopyOptions, copy

    if target == "-" and os.isatty(1):
        raise InvalidArgument("refusing to write a tar to a terminal", hint="redirect it")
    options = CopyOptions(archive, follow, overwrite)
    with opened(settings) as store, open(1, "wb", buffering=1 << 20, closefd=False) as stdout:
        copied = copy(store, source, target, options, stdin=sys.stdin.buffer, write=stdout.write)
    for name in copied.left_out:
        warn(f"{name} is a device, and was left out")
    if not quiet and sys.stderr.isatty() and target != "-":
        print(printable(f"Successfully copied {size(copied.size_bytes)} to {target}"), file=sys.stderr)


@click.command(cls=WithBooleans)
@click.argument("name", metavar="CONTAINER")
@click.argument("image", default="", metavar="[REPOSITORY[:TAG]]")
@click.option("-a", "--author", default="", metavar="WORDS", help="Say who made it.")
@click.option(
    "-c", "--change", "changes", multiple=True, metavar="INSTRUCTION", help="Apply CMD, ENV, LABEL and the like."
)
@click.option("-m", "--message", default="", metavar="WORDS", help="Say what it is.")
@click.option(
    "-p", "--pause/--no-pause", default=True, help="Stop its processes meanwhile (the default), or, with =false, not."
)
@click.option("-q", "--quiet", is_flag=True, help="Do not say on the terminal how large it is.")
@click.option(
    "-s", "--squash", is_flag=True, help="Put all files into one layer, instead of the changes into one more."
)
@click.option("--include-volumes", is_flag=True, help="Let what was mounted as a volume be one of the image.")
@click.option("--iidfile", default="", metavar="FILE", help="Write the image's id to a file.")
@click.pass_obj
def commit(
    settings: Mapping[str, str], name: str, image: str, author: str, changes: tuple[str, ...], message: str,
    pause: bool, quiet: bool, squash: bool, include_volumes: bool, iidfile: str,
) -> None:  # fmt: skip
    """Make an image of a container."""
    from prun.engines.embedded.images import image_of
    from prun.files.commit import CommitOptions
    from prun.files.commit import commit as make_image

    options = CommitOptions(author, message, changes, pause, squash, include_volumes)
    with opened(settings) as store, _writable(iidfile) if iidfile else nullcontext(-1) as fd:
        made = make_image(store, name, image, options)
        size_bytes = sum(layer.size_bytes for layer in image_of(store, made).layers)
        if iidfile:
            os.write(fd, made.digest.encode())
    if not quiet and sys.stderr.isatty():
        print(printable(f"{made.name}: {size(size_bytes)}"), file=sys.stderr)
    print(made.digest)


@contextmanager
def _writable(path: str) -> Iterator[int]:
    """Give a descriptor to write ``path`` with: the file appears when all is written; empty: standard output."""
    if not path or (os.path.exists(path) and not os.path.isfile(path)):
        try:
            yield os.open(path, os.O_WRONLY | os.O_CLOEXEC) if path else 1
        except OSError as error:
            raise _cannot_write(path or "standard output", error) from error
        return
    path = os.path.realpath(path)
    temporary = f"{path}.{os.urandom(4).hex()}"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            yield fd
            os.rename(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
        finally:
            os.close(fd)
    except OSError as error:
        raise _cannot_write(path, error) from error


def _cannot_write(path: str, error: OSError) -> Exception:
    if isinstance(error, BrokenPipeError):
        return error
    from prun.rootfs.failures import failure

    return failure(f"{path} cannot be written", error)
