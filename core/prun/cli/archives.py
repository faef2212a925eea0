"""``load``, ``save``, ``import``: images from archives and into them."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

import click

from prun.cli.images import opened
from prun.cli.run import runner_of
from prun.errors import InvalidArgument, NotFound, PermissionDenied, PrunError, ResourceExhausted, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prun.engines.embedded.saving import Format

SIGNATURE_POLICY = click.option(
    "--signature-policy",
    default="",
    metavar="FILE",
    help="Which images may come in (prun.toml: [signatures]).",
)
FORMATS = ("oci-archive", "docker-archive")


@click.command()
@click.argument("source", default="", metavar="[SOURCE]")
@click.option("-i", "--input", "path", default="", metavar="FILE", help="Read this archive; standard input by default.")
@click.option("--tag", default="", metavar="REF", help="Name the image; needed where the source gives no name.")
@click.option("--platform", default="", metavar="OS[/ARCH[/VARIANT]]", help="Only this platform of each image.")
@click.option("--no-unpack", is_flag=True, help="Leave the layers to the first run.")
@click.option("-q", "--quiet", is_flag=True, help="Print only the names.")
@SIGNATURE_POLICY
@click.pass_obj
def load(
    settings: Mapping[str, str],
    source: str,
    path: str,
    tag: str,
    platform: str,
    no_unpack: bool,
    quiet: bool,
    signature_policy: str,
) -> None:
    """Load images from an archive or a layout.

    SOURCE is oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:TAG], the path of an archive or of a
    layout, or - for stdin.
    """
    from prun.engines.embedded.images import load_images
    from prun.image.platform import parse_platform

    if source and path:
        raise InvalidArgument("--input and SOURCE are both given", hint="either names what to load")
    if path:  # docker's word for a path, which never needs ./ before it
        source = path if "/" in path else f"./{path}"
    source = source or "-"
    stdin = sys.stdin.buffer if source == "-" else None
    if stdin and stdin.isatty():
        raise InvalidArgument("standard input is a terminal, not an archive", hint="-i FILE, or redirect an archive in")
    wanted = parse_platform(platform) if platform else None
    policy = signature_policy or runner_of(settings).settings.signature_policy
    with opened(settings) as store:
        for row in load_images(
            store, source, tag=tag, unpack=not no_unpack, stdin=stdin, platform=wanted, signature_policy=policy
        ):
            print(row.name if quiet else f"Loaded image: {row.name}")


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="IMAGE...")
@click.option("-o", "--output", default="", metavar="FILE", help="Write to this file; standard output by default.")
@click.option("--format", "form", default=FORMATS[0], type=click.Choice(FORMATS), help="What kind of archive.")
@click.option("--platform", default="", metavar="OS[/ARCH[/VARIANT]]", help="Only this platform of each image.")
@click.pass_obj
def save(settings: Mapping[str, str], names: tuple[str, ...], output: str, form: Format, platform: str) -> None:
    """Save images to an archive.

    The archive of the default format is an OCI layout that docker, podman, ctr and skopeo load; digests stay the same.
    """
    from prun.engines.embedded.images import find, kept_by_name, tell
    from prun.engines.embedded.saving import Saved, save
    from prun.image.platform import parse_platform

    wanted = parse_platform(platform) if platform else None
    with opened(settings) as store, store.using_images():
        images: dict[str, Saved] = {}
        rows = [find(store, name) for name in names]
        for name, row in zip(names, rows, strict=True):
            saved = images.get(row.digest, Saved((), row.target))
            more = (row.name,) if kept_by_name(store, row, name) else ()
            images[row.digest] = saved._replace(names=tuple(dict.fromkeys((*saved.names, *more))))
        with _sink(output) as out:
            save(list(images.values()), store.content, out, form, wanted)
        tell(store, "save", *rows)


@click.command(name="import")
@click.argument("source", metavar="SOURCE")
@click.argument("name", default="", metavar="[REPOSITORY[:TAG]]")
@click.option("-c", "--change", "changes", multiple=True, metavar="INSTRUCTION", help="Apply a Dockerfile instruction.")
@click.option("-m", "--message", default="", metavar="TEXT", help="Say in its history what it is.")
@click.option("--platform", default="", metavar="OS[/ARCH[/VARIANT]]", help="What the files are for.")
@click.pass_obj
def import_(
    settings: Mapping[str, str], source: str, name: str, changes: tuple[str, ...], message: str, platform: str
) -> None:
    """Import a root file system from a tar as an image.

    SOURCE is a file, or - for stdin; plain or compressed with gzip, zstd, xz or bzip2.
    """
    from prun.engines.embedded.importing import Import, import_image
    from prun.image.platform import parse_platform

    wanted = Import(name, message, changes, parse_platform(platform) if platform else None)
    with opened(settings) as store:
        print(import_image(store, source, wanted, sys.stdin.buffer if source == "-" else None).digest)


@contextmanager
def _sink(path: str) -> Iterator[BinaryIO]:
    """Open what to save to; a file gets its name when it is whole and on the disk."""
    if not path or path == "-":
        if sys.stdout.isatty():
            raise InvalidArgument("refusing to save to a terminal", hint="use -o FILE, or redirect the output")
        sys.stdout.flush()
        with open(os.dup(1), "wb") as out:
            yield out
        return
    with _file_errors(path):
        if os.path.lexists(path) and not stat.S_ISREG(os.stat(path).st_mode):  # a FIFO, /dev/stdout
            if os.path.isdir(path):
                raise InvalidArgument(f"file {path!r} is a directory")
            with open(path, "wb") as out:
                yield out
            return
        target = os.path.realpath(path)
        unfinished = f"{target}.{os.urandom(4).hex()}.part"
        try:
            with open(unfinished, "xb") as out:
                yield out
                out.flush()
                os.fsync(out.fileno())
            os.rename(unfinished, target)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(unfinished)
            raise


@contextmanager
def _file_errors(path: str) -> Iterator[None]:
    try:
        yield
    except PrunError:
        raise
    except FileNotFoundError as error:
        raise NotFound(f"file {path!r} cannot be made: its directory does not exist") from error
    except PermissionError as error:
        raise PermissionDenied(f"file {path!r} may not be written") from error
    except BrokenPipeError:
        raise
    except OSError as error:
        import errno

        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise ResourceExhausted(f"file {path!r}: {error.strerror}", hint="free some room") from error
        raise Unavailable(f"file {path!r} cannot be written: {error.strerror or error}") from error
