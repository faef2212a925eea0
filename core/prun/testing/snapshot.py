"""Specs compared with golden files beside the tests."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any, cast

from prun.testing.difference import differences
from prun.types import NOTHING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prun.spec.document import Spec

OPTION = "--update-specs"


class SpecSnapshots:
    """The golden files of one test: ``directory/NAME.json``; ``update``: they are written, not compared with."""

    def __init__(self, directory: str, name: str, *, update: bool = False) -> None:
        self._directory = directory
        self._name = re.sub(r"[^\w.=-]+", "-", name).strip("-")
        self._update = update

    def __call__(self, spec: Spec, name: str = "", *, replace: Mapping[str, str] = NOTHING) -> None:
        """Compare a spec, or a part of one, with ``NAME.json``, by default named after the test.

        ``replace``: what is another at each run (a directory of the test's own), and what stands for it in the file.

        Raises:
            AssertionError: they differ, with a line for each place; or there is no such file.
        """
        __tracebackhide__ = True
        path = os.path.join(self._directory, f"{name or self._name}.json")
        found = _replaced(json.loads(json.dumps(spec)), replace)
        if self._update:
            os.makedirs(self._directory, exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(json.dumps(found, indent=2, sort_keys=True) + "\n")
            return
        try:
            with open(path, encoding="utf-8") as file:
                wanted = json.load(file)
        except FileNotFoundError:
            raise AssertionError(f"there is no {path}: run pytest {OPTION}, and read what it wrote") from None
        if lines := list(differences(wanted, found)):
            places = "1 place" if len(lines) == 1 else f"{len(lines)} places"
            told = "\n  ".join(lines)
            raise AssertionError(f"the spec differs from {path} in {places} (pytest {OPTION} writes it):\n  {told}")


def _replaced(value: object, replace: Mapping[str, str]) -> object:
    if isinstance(value, str):
        for old, new in replace.items():
            value = value.replace(old, new)
        return value
    if isinstance(value, list):
        return [_replaced(item, replace) for item in value]
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {_replaced(key, replace): _replaced(item, replace) for key, item in items}
    return value
