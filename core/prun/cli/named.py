"""``prun run NAME``, ``-f FILE NAME``, ``--profile NAME``: what files say of a run, beneath what its words say.

A word that is the name of a run in a file of yours is that run; ``NAME:latest`` is always the image.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prun.config.choosing import Chooser, refuse_to_guess
from prun.errors import InvalidArgument, NotFound
from prun.types import Origin

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prun.api import Runner
    from prun.cli.grammar import Parsed
    from prun.config.files import Document
    from prun.config.layers import Layered
    from prun.request import Asked
    from prun.types import RunRequest


def named(
    parsed: Parsed,
    runner: Runner,
    flags: Mapping[str, Origin],
    profiles: Sequence[str],
) -> RunRequest:
    """Return the request of a command line where there are files, or where it asks for one.

    Raises:
        NotFound: there is no such run or profile.
        PermissionDenied: a file that nobody named would have its way in the place of an image.
        InvalidConfig: a file has a value that cannot be used.
        InvalidArgument: what files and words say together cannot be.
    """
    from prun.cli.run import check_combination, request_of

    chooser = Chooser(runner.settings)
    document = _meant(parsed, runner, chooser)
    layered = chooser.layers(parsed.rest[0] if document else "", document, profiles)
    asked = layered.under(parsed.asked)
    runner.take(layered.options)
    variables = {f"PRUN_{key.upper()}": key for key in ("runtime", "engine")}
    over = {key: Origin("environment", name) for name, key in variables.items() if os.environ.get(name)} | dict(flags)
    words = _words(parsed.rest, layered, asked) if document else parsed.rest
    origins = layered.origins_under(over)
    try:
        request = request_of(asked, words, runner)
        check_combination(request)
    except InvalidArgument as error:
        from prun.config.blame import blamed

        raise blamed(error, layered, asked) from error
    return request._replace(origins={**origins, **_runtime_origins(runner, origins)})


def _meant(parsed: Parsed, runner: Runner, chooser: Chooser) -> Document | None:
    """Return the file whose run the first word is, None where it is an image."""
    file, name = parsed.values["file"], next(iter(parsed.rest), "")
    if file:
        document = next((each for each in runner.settings.documents if os.path.samefile(each.path, file)), None)
        runs = document.table.get("run", {}) if document else {}
        if name not in runs:
            message = f"{file} has no [run.{name}]" if name else "NAME is missing"
            raise NotFound(message, hint=f"it has: {', '.join(runs)}" if runs else "prun run -f FILE NAME [ARG...]")
        return document
    document = None if parsed.values["rootfs"] else chooser.run(name)
    if document and document.found:
        refuse_to_guess(name, document, parsed.given, is_image=_is_image(runner, name))
        from prun.cli.output import warn

        warn(f"{name} is a run of {document.path}, which prun found by itself")
    return document


def _is_image(runner: Runner, name: str) -> bool:
    """Tell whether an image in the store has that name, or an id that begins so."""
    from prun.image.reference import parse_reference
    from prun.metadata.names import names

    try:
        full = str(parse_reference(name))
    except InvalidArgument:
        full = ""
    rows = names(os.path.join(runner.root, "metadata.db"), "images")
    return any(row.name == full or row.id.removeprefix("sha256:").startswith(name) for row in rows)


def _words(words: Sequence[str], layered: Layered, asked: Asked) -> tuple[str, ...]:
    """Return IMAGE and the words behind it: the file's, then those behind NAME (after a ``--``, if there is one)."""
    more = words[2:] if words[1:2] == ("--",) else words[1:]
    if "rootfs" not in asked and not layered.image:
        raise InvalidArgument(f"[run.{words[0]}] has no image", hint="image, or rootfs, of that table or of a profile")
    if "rootfs" in layered.options and layered.image:
        raise InvalidArgument(f"[run.{words[0]}] has an image, and a rootfs of a profile", hint="leave one out")
    return (*(() if "rootfs" in asked else (layered.image,)), *layered.command, *more)


def _runtime_origins(runner: Runner, origins: Mapping[str, tuple[Origin, ...]]) -> dict[str, tuple[Origin, ...]]:
    """Return where the options of the runtime come from, if a file has some."""
    tables = [
        Origin("runtimes", runner.runtime, document.path, document.line(("runtimes", runner.runtime, key)))
        for document in runner.settings.documents
        for key in document.table.get("runtimes", {}).get(runner.runtime, {})
    ]
    return {"opt": (*tables, *origins.get("opt", ()))} if tables else {}
