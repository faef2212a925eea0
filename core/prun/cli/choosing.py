"""Which containers a command means, and the same done with each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from prun.cli.output import tell
from prun.errors import InvalidArgument, NotFound, PrunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prun.metadata import ContainerRow
    from prun.state import Store

ID_BYTES = 256


def ids_in(paths: Iterable[str], *, ignore: bool = False) -> list[str]:
    """Return the ids that the files of ``--cidfile`` have; ``ignore``: one that is not there is no error.

    Raises:
        NotFound: a file cannot be read.
    """
    found = []
    for path in paths:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                found.append(file.read(ID_BYTES).strip())
        except OSError as error:
            if not ignore:
                raise NotFound(f"--cidfile {path} cannot be read: {error.strerror}") from error
    return found


def chosen(
    store: Store, names: Iterable[str], everything: bool, *, states: tuple[str, ...] = (), none: object = False
) -> list[str]:
    """Return the containers that were named, or the ids of all, those in one of ``states`` if there are any.

    ``none``: there may be none, since files named them that are not there.

    Raises:
        InvalidArgument: neither was asked for, or both.
    """
    words = list(names)
    if everything and words:
        raise InvalidArgument("--all and the names of containers do not go together", hint="leave one of them out")
    if not everything and not words and not none:
        raise InvalidArgument("CONTAINER is missing", hint="the name or the id of one or more, or --all")
    if not everything:
        return words
    return [row.id for row in store.metadata.containers() if not states or row.status in states]


def each(
    store: Store,
    words: Iterable[str],
    act: Callable[[ContainerRow], object],
    *,
    ignore: bool = False,
    missing: str = "",
    echo: bool = True,
) -> int:
    """Act on every container, and print the words of those with which it went well; the others each get a line.

    ``ignore``: one that does not exist is no error; ``missing`` is what is printed for it then.
    """
    code = 0
    for word in words:
        try:
            try:
                row = store.find(word)
            except NotFound:
                if not (ignore or missing):
                    raise
                if missing:
                    print(missing)
                continue
            act(row)
        except PrunError as error:
            tell(error, click.get_current_context().obj)
            code = error.exit_code
        else:
            if echo:
                print(word, flush=True)
    return code
