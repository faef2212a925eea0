"""A recording: what happened in a real run, one JSON object a line, in its order; nothing in it is of one process.

Each line has ``at_s``, the seconds since the run began, and one of

    recording   the format's number, the runtime, and the request (``prun.request.stored``)
    image       name, digest, platform and config of the image that was resolved
    file        a path in the root file system that was looked at: its ``stat``, or its content or the error of that
    spec        the finished spec
    event       an event's kind, without its detail
    stdout      text that the container wrote; bytes that are no UTF-8 are lone surrogates
    stderr      likewise
    failed      the stage, the class, the message and the hint of the error that ended the run
    exit        the exit code
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from prun import errors
from prun.errors import InvalidArgument, NotFound, PrunError
from prun.types import FileStat, Image, Platform, RunRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prun.spec.document import Spec

FORMAT = 1


class Output(NamedTuple):
    """Something that the container wrote: when, to which stream (``stdout`` or ``stderr``), and what."""

    at_s: float
    stream: str
    text: str


class Recording(NamedTuple):
    """A run as it was recorded; ``image``, ``spec`` and ``code`` are None where it did not come so far.

    ``started_s`` and ``ended_s`` are when the process started and ended.  ``failure``: the stage, and the error.
    """

    runtime: str
    request: RunRequest
    image: Image | None = None
    files: Mapping[str, Mapping[str, Any]] = {}
    spec: Spec | None = None
    output: tuple[Output, ...] = ()
    events: tuple[str, ...] = ()
    started_s: float = 0
    ended_s: float = 0
    code: int | None = None
    failure: tuple[str, PrunError] | None = None

    def read(self, path: str) -> bytes:
        """Return the content of a file that the recorded run read.

        Raises:
            PrunError: what it got instead; ``NotFound`` where it did not look.
        """
        found = self.files.get(path, {})
        if "content" in found:
            return str(found["content"]).encode(errors="surrogateescape")
        if "error" in found:
            raise _error(found["error"])
        raise NotFound(f"{path} was not read when this run was recorded")

    def stat(self, path: str) -> FileStat | None:
        """Return what the recorded run saw at a path."""
        found = self.files.get(path, {}).get("stat")
        return FileStat(*found) if found else None


def load(path: str) -> Recording:
    """Read a recording.

    Raises:
        NotFound: there is none.
        InvalidArgument: it is none, or of a newer prun.
    """
    try:
        with open(path, encoding="utf-8") as file:
            lines = [json.loads(line) for line in file]
    except FileNotFoundError as error:
        raise NotFound(f"recording {path} does not exist") from error
    except OSError as error:
        raise InvalidArgument(f"recording {path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"recording {path} is none: {error}") from error
    try:
        if lines[0]["recording"]["format"] != FORMAT:
            raise InvalidArgument(f"recording {path} is of another prun", hint="record it again")
        return _read(lines)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise InvalidArgument(f"recording {path} is none: {type(error).__name__}: {error}") from error


def _read(lines: list[dict[str, Any]]) -> Recording:
    from prun.request.stored import loaded

    head = lines[0]["recording"]
    found = Recording(str(head["runtime"]), loaded(json.dumps(head["request"])))
    files: dict[str, dict[str, Any]] = {}
    output, events = [], []
    for line in lines:
        at = float(line["at_s"])
        if "image" in line:
            image = line["image"]
            platform = Platform(*image["platform"])
            found = found._replace(image=Image(image["name"], image["digest"], platform, image["config"]))
        if "file" in line:
            files.setdefault(line["file"]["path"], {}).update(line["file"])
        if "spec" in line:
            found = found._replace(spec=line["spec"])
        if "event" in line:
            events.append(str(line["event"]))
            if line["event"] == "started":
                found = found._replace(started_s=at)
        output += [Output(at, stream, str(line[stream])) for stream in ("stdout", "stderr") if stream in line]
        if "failed" in line and found.failure is None:
            found = found._replace(failure=(str(line["failed"]["stage"]), _error(line["failed"])))
        if "exit" in line:
            found = found._replace(code=int(line["exit"]), ended_s=at)
    return found._replace(files=files, output=tuple(output), events=tuple(events))


def described(error: PrunError) -> dict[str, str]:
    """Return an error as a recording has it."""
    return {"error": type(error).__name__, "message": str(error), "hint": error.hint}


def _error(found: Mapping[str, Any]) -> PrunError:
    kind = getattr(errors, str(found["error"]), PrunError)
    if not (isinstance(kind, type) and issubclass(kind, PrunError)):
        kind = PrunError
    return kind(str(found["message"]), hint=str(found.get("hint", "")))
