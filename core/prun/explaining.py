"""Why a spec is as it is: built as ``pipeline.build_spec`` does, with a note of who changes what.

A run that does not ask for it (``--explain``) never comes here.  What is written down for one that does is kept with
the container, in ``explain.json`` of its directory (``prun.state``), and goes with it.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, cast

from prun.request.origins import origins_of
from prun.spec import with_mounts
from prun.spec.provenance import Author, Explanation, Recorder, explanation_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from prun.plugins import Hooks
    from prun.spec import SpecOpt
    from prun.spec.document import Spec
    from prun.spec.provenance import Tier
    from prun.types import Image, Rootfs, RunRequest

FILE = "explain.json"
FORMAT = 1


def recorded(
    request: RunRequest, image: Image, rootfs: Rootfs, hooks: Hooks, *, every_line: bool = True
) -> Explanation:
    """Build the spec with everyone's options and mounts, and return how it came to be; it is not checked yet.

    ``every_line`` is that of ``attribution.attributed``: a run has no time for it.
    """
    recorder = Recorder()
    spec, seen = cast("Spec", {}), set[str]()

    def step(opt: SpecOpt, author: Author, member: str = "") -> None:
        with hooks.applying():
            opt(spec)
        changes, before = recorder.changes, len(recorder.changes)
        recorder.step(cast("Mapping[str, Any]", spec), author, member)
        for index in range(before, len(changes)):
            said = origins_of(changes[index], request, image, again=author.option in seen)
            changes[index] = changes[index]._replace(origins=said)
        if len(changes) > before:
            seen.add(author.option)

    answers = hooks.attributed("prun_spec_opts", every_line=every_line, request=request, image=image, rootfs=rootfs)
    for opt, plugin, where, factory in answers:
        step(opt, Author(tier_of(plugin), plugin, factory or option_name(opt), where))
    step(with_mounts(()), Author("default", "prun", "with_mounts"))
    for mount, plugin, where, _ in hooks.attributed("prun_mounts", every_line=False, request=request, image=image):
        step(with_mounts((mount,)), Author(tier_of(plugin), plugin, f"mount {mount.destination}", where), "mounts")
    if request.patches:
        from prun.altering import patch_opt

        for patch in request.patches:
            step(patch_opt(patch), Author("patch", "patch", patch.said, patch.origin))
    return Explanation(recorder.changes, spec)


def tier_of(plugin: str) -> Tier:
    """Return the tier of a plugin by the name that it is registered under (``plugins.Hooks``)."""
    tiers: dict[str, Tier] = {
        "defaults": "default",
        "flags": "flag",
        "runtime": "runtime",
        "engine": "engine",
        "hook": "hook",
    }
    return tiers.get(plugin.partition(" ")[0], "plugin")


def option_name(opt: object) -> str:
    """Return the name of an option that no factory made when it was asked for."""
    return str(getattr(opt, "__qualname__", type(opt).__qualname__)).partition(".<locals>")[0]


def keep(explanation: Explanation, directory: str) -> None:
    """Write an explanation into a container's directory; one that was there is replaced."""
    from prun.state import make_private

    make_private(directory)
    path = os.path.join(directory, FILE)
    new = f"{path}.new"
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(json.dumps({"format": FORMAT, "changes": explanation.plain(old=False)}))
    os.replace(new, path)


def kept(directory: str) -> Explanation | None:
    """Return the explanation of a container's directory, None where none was written.

    Raises:
        DataLoss: it cannot be read.
    """
    from prun.errors import DataLoss

    try:
        with open(os.path.join(directory, FILE), encoding="utf-8") as file:
            document = json.load(file)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise DataLoss(f"{os.path.join(directory, FILE)} cannot be read: {error}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise DataLoss(f"{os.path.join(directory, FILE)} is of another prun", hint="make the container again")
    return explanation_of(document.get("changes"))
