"""A distribution that is a runtime or a plugin, as its author begins it: ``prun plugins new``.

The files beside this module are the distribution of each kind; ``TEMPLATE-NAME``, ``TEMPLATE_MODULE``
and ``TEMPLATE-KIND`` in them stand for what is chosen.
"""

from __future__ import annotations

import os
import re
import tempfile
from importlib.util import find_spec
from typing import Literal

from prun import discovery
from prun.errors import AlreadyExists, InvalidArgument, PermissionDenied, Unavailable

Kind = Literal["runtime", "plugin"]

LONGEST_NAME = 40
TEMPLATES = os.path.dirname(__file__)


def write(name: str, kind: Kind, directory: str) -> str:
    """Write the distribution ``prun-NAME`` as ``directory``, whole or not at all, and return that.

    Raises:
        InvalidArgument: the name cannot be that of a plugin, a distribution and a module.
        AlreadyExists: the name is taken in this environment, or there is something at ``directory``.
        PermissionDenied, Unavailable: it cannot be written there.
    """
    module = _checked(name, kind)
    if os.path.lexists(directory) and not (os.path.isdir(directory) and not os.listdir(directory)):
        raise AlreadyExists(f"{directory} is there already", hint="--directory names another place")
    files = {
        "pyproject.toml": "pyproject.toml",
        "README.md": f"{kind}/README.md",
        f"{module}.py": f"{kind}/module.py",
        f"tests/test_{module}.py": f"{kind}/test.py",
    }
    stands_for = {"TEMPLATE-NAME": name, "TEMPLATE_MODULE": module, "TEMPLATE-KIND": kind}
    parent = os.path.dirname(os.path.abspath(directory))
    try:
        os.makedirs(parent, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".prun-{name}-", dir=parent) as scratch:
            tree = os.path.join(scratch, "tree")
            os.makedirs(os.path.join(tree, "tests"))
            for path, template in files.items():
                with open(os.path.join(TEMPLATES, template), encoding="utf-8") as file:
                    text = re.sub("|".join(stands_for), lambda found: stands_for[found[0]], file.read())
                with open(os.path.join(tree, path), "x", encoding="utf-8") as file:
                    file.write(text)
            _put(tree, directory)
    except PermissionError as error:
        raise PermissionDenied(f"{directory} cannot be written: {error.strerror}") from error
    except OSError as error:
        raise Unavailable(f"{directory} cannot be written: {error.strerror}") from error
    return directory


def _put(tree: str, directory: str) -> None:
    """Move the tree to its place; rename(2) refuses one where something has come to be meanwhile."""
    if os.path.isdir(directory) and os.name == "nt":
        os.rmdir(directory)
    try:
        os.rename(tree, directory)
    except FileExistsError as error:
        raise AlreadyExists(f"{directory} is there already", hint="--directory names another place") from error


def _checked(name: str, kind: Kind) -> str:
    """Return the module's name."""
    if not re.fullmatch("[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or len(name) > LONGEST_NAME:
        raise InvalidArgument(
            f"{kind} name {name!r} is not usable",
            hint=f"at most {LONGEST_NAME} of a-z, 0-9 and single dashes, a letter first",
        )
    if name.startswith("prun-") or name in ("prun", "none", "defaults", "flags"):
        raise InvalidArgument(f"{kind} name {name!r} is not usable", hint="a word of its own, without prun-")
    module = f"prun_{name.replace('-', '_')}"
    taken = discovery.entry_points(f"prun.{kind}s").get(name)
    if taken is not None:
        raise AlreadyExists(f"there is a {kind} {name!r} already: {taken.distribution} {taken.version}")
    if find_spec(module) is not None:
        raise AlreadyExists(f"there is a module {module} already", hint="choose another name")
    return module
