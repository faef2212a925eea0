"""Which run and which profiles of the files are meant, and what that makes of a run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from prun.config.faults import nearest
from prun.config.files import distrusted
from prun.config.layers import Layer, Layered, holders, laid, profile_layers, run_layers
from prun.errors import FailedPrecondition, NotFound, PermissionDenied

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from prun.config import Settings
    from prun.config.files import Document

# What can be the name of a run; anything else is an image.
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")


class Chooser:
    """Finds runs and profiles by their names, in the files that are believed and in the one that was found."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._own = settings.documents
        self._found: list[Document] | None = None

    @property
    def found(self) -> list[Document]:
        """The project's file that nobody named, if it may be used; read when first asked for."""
        if self._found is None:
            self._found = []
            if self._settings.found and not distrusted(self._settings.found):
                from prun.config.reading import found_document

                self._found = [found_document(self._settings.found)]
        return self._found

    def run(self, name: str) -> Document | None:
        """Return the file whose ``[run.NAME]`` a word of the command line means, None where it is an image.

        Of several files that have one, the last one's counts, and whole: it is not mixed with another's.

        Raises:
            FailedPrecondition: a file that is not believed has a run with the name of one of yours.
        """
        if not _NAME.fullmatch(name):
            return None
        return self._one("run", name)

    def layers(self, run: str, document: Document | None, profiles: Sequence[str]) -> Layered:
        """Lay over each other what counts for a run.

        ``run`` is that of ``document``; without one there are the defaults and the profiles only.

        Raises:
            NotFound: there is no such profile.
            InvalidConfig: values cannot be used.
        """
        below: list[Layer] = []
        above: list[Layer] = []
        if document:
            own = [document] if document.found else self._own
            (below if document.found else above).extend(run_layers(run, document, own))
        for name in profiles:
            holder = self._profile(name)
            (below if holder.found else above).extend(profile_layers([name], [holder] if holder.found else self._own))
        defaults = [Layer("defaults", "", each) for each in self._own if "defaults" in each.table]
        return laid([*_once(below), *defaults, *_once(above)])

    def _profile(self, name: str) -> Document:
        document = self._one("profiles", name)
        if document is None:
            known = {each for document in (*self._own, *self.found) for each in document.table.get("profiles", {})}
            raise NotFound(f"there is no profile {name!r}{self.unused}", hint=nearest(name, sorted(known)))
        return document

    def _one(self, kind: str, name: str) -> Document | None:
        own, found = holders(kind, name, self._own), holders(kind, name, self.found)
        if own and found:
            places = " and ".join(f"{each.path}:{each.line((kind, name))}" for each in (own[-1], found[0]))
            raise FailedPrecondition(
                f"[{kind}.{name}] is in a file of yours and in one that prun found by itself: {places}",
                hint=f"-f {found[0].path} reads that one as yours; or give one of them another name",
            )
        return next(reversed((*found, *own)), None)

    @property
    def unused(self) -> str:
        """Why a project's file is not looked into, to be added to what could not be found."""
        reason = distrusted(self._settings.found) if self._settings.found else ""
        return f"; {self._settings.found} is not used: {reason}" if reason else ""


def _once(layers: Sequence[Layer]) -> Iterator[Layer]:
    """Leave out a profile where it comes again."""
    seen = set()
    for layer in layers:
        if (layer.path, layer.document.path) not in seen:
            seen.add((layer.path, layer.document.path))
            yield layer


def refuse_to_guess(name: str, document: Document, options: Collection[str], *, is_image: bool) -> None:
    """Refuse a run of a file that nobody named where the word may have meant an image.

    ``options`` are those of the command line: what one opens to an image that the user knows, it must not open to the
    one that a file puts in its place.

    Raises:
        PermissionDenied: there is such an image, or an option opens something of the machine.
    """
    from prun.config.layers import HARMLESS

    place = f"{document.path}:{document.line(('run', name))}"
    opening = sorted(set(options) - HARMLESS - {"profile"})
    if is_image or opening:
        why = "there is an image of that name, too" if is_image else f"--{opening[0].replace('_', '-')} was given"
        raise PermissionDenied(
            f"{name!r} is a run of {place}, a file that prun found by itself, and {why}",
            hint=f"-f {document.path} {name} is the run, {name}:latest is the image",
        )
