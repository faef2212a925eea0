"""What is told about a run besides its result: ``--timing``, ``--trace``, ``--events-fd``, ``--lock``.

None of it belongs to the container: a later ``prun start`` does not do it again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prun.errors import InvalidArgument
from prun.request import flag, one

if TYPE_CHECKING:
    from prun.request import Asked

OTLP = "otlp"


class Observation(NamedTuple):
    """``timing``: a timeline is kept.  ``trace``: where it goes to, a file or ``otlp``.  ``events_fd``: -1 for none.

    ``lock``: the file that what made the run is written to.
    """

    timing: bool = False
    trace: str = ""
    events_fd: int = -1
    lock: str = ""


def fields(asked: Asked) -> dict[str, object]:
    """Return ``observation``, None where nothing is to be told.

    Raises:
        InvalidArgument: a file has no name, or a descriptor is none.
    """
    if "trace" in asked and not one(asked, "trace"):
        raise InvalidArgument("--trace '' is no file", hint="give it a path, or otlp")
    if "lock" in asked and not one(asked, "lock"):
        raise InvalidArgument("--lock '' is no file", hint="give it a path")
    wanted = Observation(flag(asked, "timing"), one(asked, "trace"), _descriptor(asked), one(asked, "lock"))
    return {"observation": None if wanted == Observation() else wanted}


def _descriptor(asked: Asked) -> int:
    word = one(asked, "events_fd")
    if not word and "events_fd" not in asked:
        return -1
    if not (word.isascii() and word.isdigit() and 0 < int(word) < 1 << 20):
        raise InvalidArgument(f"--events-fd {word!r} is no descriptor", hint="a number, as in --events-fd 3 3>events")
    return int(word)
