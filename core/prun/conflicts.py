"""Two plugins that set one field of the spec differently, and of which nobody has said who comes first.

Looked for where two plugins of tier 4 have options: each is applied to an empty spec first, which costs little and
shows who may conflict with whom.  Only then is the spec built step by step, as for ``--explain``, to see who does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

from prun.errors import FailedPrecondition
from prun.spec import with_mounts
from prun.spec.provenance import ABSENT, escaped, identity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from prun.plugins import Hooks
    from prun.spec import SpecOpt
    from prun.spec.document import Spec
    from prun.spec.provenance import Change, Explanation
    from prun.types import Image, Mount, Rootfs, RunRequest

# A field, and of an element of an array what that is known by.
_Place = tuple[str, object]


class Conflict(NamedTuple):
    """A field that the plugin ``first`` has set to ``old`` and ``then`` to ``new``, each with an option of its own."""

    pointer: str
    first: str
    then: str
    options: tuple[str, str]
    old: Any
    new: Any

    def __str__(self) -> str:
        one, other = self.options
        return (
            f"{self.pointer}: {self.first} ({one}) sets it to {_shown(self.old)}, "
            f"{self.then} ({other}) to {_shown(self.new)}"
        )


def answers_told(request: RunRequest, image: Image, rootfs: Rootfs, hooks: Hooks) -> tuple[list[SpecOpt], list[Mount]]:
    """Return everyone's options and mounts, once it is told about which fields plugins do not agree.

    Raises: as ``tell``.
    """
    opts = hooks.attributed(
        "prun_spec_opts", every_line=False, lines=False, request=request, image=image, rootfs=rootfs
    )
    mounts = hooks.attributed("prun_mounts", every_line=False, lines=False, request=request, image=image)
    tier = hooks.plugins
    owned = [(each.plugin, each.item) for each in opts if each.plugin in tier]
    owned += [(each.plugin, with_mounts((each.item,))) for each in mounts if each.plugin in tier]
    with hooks.applying():
        suspected = suspects(owned)
    if suspected:
        from prun.explaining import recorded

        tell(conflicts(recorded(request, image, rootfs, hooks, every_line=False), hooks.agreed), hooks)
    return [each.item for each in opts], [each.item for each in mounts]


def suspects(owned: Sequence[tuple[str, SpecOpt]]) -> bool:
    """Tell whether two of these plugins set one field differently where nothing else is set, or may do so."""
    values: dict[_Place, tuple[str, Any]] = {}
    documents: dict[str, dict[str, Any]] = {}
    for plugin, opt in owned:
        spec = documents.setdefault(plugin, {})
        try:
            opt(cast("Spec", spec))
        except Exception:  # noqa: BLE001  it needs what is not there, so that it cannot be known
            return True
    for plugin, document in documents.items():
        for place, value in _fields("", document):
            owner, other = values.setdefault(place, (plugin, value))
            if owner != plugin and other != value:
                return True
    return False


def conflicts(explanation: Explanation, agreed: Callable[[str, str], bool]) -> list[Conflict]:
    """Return what plugins of tier 4 have set and others of them have set differently.

    ``agreed`` tells whether somebody has said in which order two plugins come.
    """
    found: list[Conflict] = []
    last: dict[_Place, Change] = {}
    for change in explanation.changes:
        if change.author.tier != "plugin":
            continue
        before = dict(_fields(change.pointer, change.old)) if change.old is not ABSENT else {}
        after = dict(_fields(change.pointer, change.new)) if change.new is not ABSENT else {}
        for place in (*after, *(place for place in before if place not in after)):
            value = after.get(place, ABSENT)
            if place in before and before[place] == value:
                continue
            earlier = last.get(place)
            last[place] = change
            if earlier is None or earlier.author.plugin == change.author.plugin or place not in before:
                continue
            if not agreed(earlier.author.plugin, change.author.plugin):
                one, other = earlier.author, change.author
                options = (one.option, other.option)
                found.append(Conflict(_named(place), one.plugin, other.plugin, options, before[place], value))
    return found


def tell(found: Sequence[Conflict], hooks: Hooks) -> None:
    """Say what plugins do not agree about, or refuse it where one of them says ``on_conflict = "fail"``.

    Raises:
        FailedPrecondition: that is so.
    """
    for conflict in found:
        hint = f'[plugins.{conflict.then}] after = ["{conflict.first}"] says that this is meant'
        tables = [hooks.settings[name] for name in conflict[1:3] if name in hooks.settings]
        if any(table.on_conflict == "fail" for table in tables):
            raise FailedPrecondition(f"plugins do not agree about {conflict}", hint=hint)
        if hooks.warn is not None and not any(table.on_conflict == "skip" for table in tables):
            hooks.warn(f"plugins do not agree about {conflict} ({hint})")


def _fields(pointer: str, value: Any) -> Iterator[tuple[_Place, Any]]:
    """Yield the fields of a document: of objects their members, of arrays their elements."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _fields(f"{pointer}/{escaped(key)}", each)
    elif isinstance(value, list):
        for index, each in enumerate(value):
            known = identity(pointer, each, index)
            yield (pointer, known if isinstance(known, str | int) else repr(known)), each
    else:
        yield (pointer, ""), value


def _named(place: _Place) -> str:
    pointer, known = place
    return f"{pointer} ({known})" if known != "" else pointer


def _shown(value: Any) -> str:
    import json

    return "nothing" if value is ABSENT else json.dumps(value)
