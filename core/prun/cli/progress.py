"""What is going on with an image, on stderr: bars on a terminal, lines elsewhere, JSON lines for a program."""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prun.cli.output import printable, printable_lines, size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from prun.image.registry.progress import Listener, Progress

FORMS = ("auto", "plain", "json")
_SENTENCES = {"resolved": "Pulling {detail}", "warning": "warning: {detail}", "done": "{detail}\nDigest: {digest}"}
_WORDS = {
    "waiting": "waiting for another prun that fetches it",
    "exists": "already exists",
    "downloading": "downloading {total}",
    "retrying": "{detail}",
    "downloaded": "download complete",
    "unpacking": "unpacking",
    "unpacked": "unpacked",
    "uploading": "uploading {total}",
    "uploaded": "pushed",
    "mounted": "mounted from {detail}",
}


@contextmanager
def shown(form: str, *, quiet: bool = False) -> Iterator[Listener | None]:
    """Give a listener that shows what it hears on stderr; None where nothing is to be shown."""
    if quiet:
        yield None
    elif form == "json":
        yield _print_json
    elif form == "plain" or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield plain()
    else:
        with _bars() as listener:
            yield listener


def plain() -> Listener:
    """Return a listener that prints a line for every change; how far a blob is, it leaves out."""
    said: set[tuple[str, str]] = set()

    def listen(news: Progress) -> None:
        if news.status in ("downloading", "uploading"):
            if (news.status, news.digest) in said:
                return
            said.add((news.status, news.digest))
        print(printable_lines(_line(news)), file=sys.stderr, flush=True)

    return listen


def _line(news: Progress) -> str:
    if news.status in _SENTENCES:
        return _SENTENCES[news.status].format(detail=news.detail, digest=news.digest)
    words = _WORDS[news.status].format(detail=news.detail, total=size(news.total))
    return f"{_short(news.digest)}: {words}"


def _print_json(news: Progress) -> None:
    document = {key: value for key, value in news._asdict().items() if value or key == "status"}
    print(json.dumps(document), file=sys.stderr, flush=True)


def _short(digest: str) -> str:
    return digest.partition(":")[2][:12] or digest


@contextmanager
def _bars() -> Iterator[Listener]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True, markup=False, highlight=False)) as bars:
        yield _on(bars)


def _on(bars: Bars) -> Callable[[Progress], None]:
    from rich.markup import escape

    tasks: dict[str, TaskID] = {}

    def listen(news: Progress) -> None:
        if news.status in _SENTENCES or news.status in ("unpacking", "unpacked", "retrying"):
            bars.console.print(printable_lines(_line(news)), markup=False)
            return
        words = "" if news.status in ("downloading", "uploading") else _line(news).partition(": ")[2]
        description = escape(printable(f"{_short(news.digest)} {words}"))
        if news.digest not in tasks:
            tasks[news.digest] = bars.add_task(description, total=news.total or None)
        bars.update(tasks[news.digest], description=description, completed=news.current)

    return listen
