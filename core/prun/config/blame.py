"""Which value of which file is to blame for a request that cannot be made.

Options are looked at together, since some need each other (``memory_swap`` needs ``memory``, which may be a flag's):
those that fit are put aside until none of the others fits any more.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from prun.config.faults import InvalidConfig
from prun.errors import InvalidArgument, PrunError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prun.config.faults import Fault
    from prun.config.layers import Layered
    from prun.request import Asked, Words


def blamed(error: InvalidArgument, layered: Layered, asked: Asked) -> InvalidArgument:
    """Return an error that names the places in files of the options that do not fit.

    ``asked`` are all options, those of the caller over those of files.  Where no value of a file is to blame alone,
    the places of the options that the error speaks of are added to it.
    """
    sound = {key: value for key, value in asked.items() if key not in layered.options}
    if _wrong(sound):
        return error
    faults = list(faults_of(layered, asked, sound))
    if faults:
        return InvalidConfig(faults)
    text = str(error)
    places = [
        f"{key}: {each[-1]}"
        for key, each in layered.origins.items()
        if key in text.split() or f"--{key.replace('_', '-')}" in text
    ]
    return type(error)(f"{text} ({'; '.join(places)})", hint=error.hint) if places else error


def faults_of(layered: Layered, asked: Asked, sound: Mapping[str, Words], *, alone: bool = False) -> Iterator[Fault]:
    """Yield a fault for each option of files that does not fit with ``sound`` ones and those that fit.

    ``alone``: more options may come, so that it is no fault that one needs another.
    """
    sound, left = dict(sound), list(layered.options)
    found: dict[str, InvalidArgument] = {}
    before = -1
    while len(left) != before:
        before = len(left)
        for key in list(left):
            if error := _wrong({**sound, key: asked[key]}):
                found[key] = error
            else:
                sound[key] = asked[key]
                left.remove(key)
    for key in left:
        others = set(re.findall(r"--([a-z-]+)", str(found[key]))) - {key.replace("_", "-")}
        if not (alone and others):
            yield from _placed(key, found[key], layered)


def _placed(key: str, error: InvalidArgument, layered: Layered) -> Iterator[Fault]:
    """Yield the fault at the tables of an option that do not fit by themselves, at the last where all do."""
    parts = layered.parts[key]
    wrong = [part for part in parts if _wrong({key: part.words})] or [parts[-1]]
    for part in wrong:
        said = _wrong({key: part.words}) or error
        text = str(said) if key in str(said) or f"--{key.replace('_', '-')}" in str(said) else f"{key}: {said}"
        yield part.layer.document.fault((*part.layer.path, part.name), text, said.hint, value=True)


def _wrong(asked: Asked) -> InvalidArgument | None:
    """Return the error of a request that has these options; what is only not there now is none."""
    from prun.image.platform import parse_platform
    from prun.request import many, one
    from prun.request.environment import pairs
    from prun.request.whole import fields

    try:
        fields(asked)
        pairs("opt", many(asked, "opt"), need_value=True)
        if platform := one(asked, "platform"):
            parse_platform(platform)
    except InvalidArgument as error:
        return error
    except PrunError:
        return None
    return None
