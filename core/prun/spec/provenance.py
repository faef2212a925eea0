"""Why each field of a spec is as it is: who changed it, from what to what, in order.

A spec starts as ``{}``.  ``Recorder.step`` is called after each change of it and writes down what is different from
before, as changes of the objects' members; an array is one value.  ``Explanation`` answers from these changes alone:
replayed over ``{}`` they give the spec, and what they do to one place, named by its JSON pointer (RFC 6901), is that
place's chain.  An element of an array is followed by what it is, not by its index: an environment variable by its
name, a mount by its destination.
"""

# As in prun.types: no `from __future__ import annotations`.

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from prun.errors import DataLoss, InvalidArgument, NotFound

if TYPE_CHECKING:
    from prun.spec.document import Spec

Tier = Literal["default", "runtime", "engine", "plugin", "profile", "flag", "hook", "patch"]

# A step into an object is a member's name; into an array: how to recognise the element, and the how-manieth of these.
_Step = str | tuple[str, object, int]

# What an object in an array is known by, by the array's place; a text without a place here is known by itself.
_KEYS = {
    "/mounts": "destination",
    "/process/rlimits": "type",
    "/linux/namespaces": "type",
    "/linux/devices": "path",
}


class Absent:
    """Stands for no value, where None is JSON's null."""

    def __repr__(self) -> str:
        return "absent"

    def __bool__(self) -> bool:
        return False


ABSENT = Absent()


class Author(NamedTuple):
    """Who changed a spec: ``option`` of ``plugin``, made at ``where`` (``module:line``, or a file and its line).

    ``plugin`` is the name that it is registered under.  ``option`` is a factory's name (``with_env``), ``mount`` and
    its destination, or the words of a patch.
    """

    tier: Tier
    plugin: str
    option: str
    where: str = ""


class Said(NamedTuple):
    """What a change follows from: a flag, a line of ``prun.toml``, a field of the image's config.

    ``part``: it is about that member only, or about the array's element of that name (a variable of ``process.env``).
    """

    words: str
    part: str = ""


class Change(NamedTuple):
    """One change at a JSON pointer; ``old`` and ``new`` are JSON, or ``ABSENT``."""

    pointer: str
    old: Any
    new: Any
    author: Author
    origins: tuple[Said, ...] = ()


class Recorder:
    """Writes down how a spec comes to be; ``step`` follows each change of it, made by one author."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self._shadow: dict[str, Any] = {}

    def step(self, spec: Mapping[str, Any], author: Author, member: str = "") -> None:
        """Write down what is not as it was; what is equal, as 1 and true are for Python, is no change.

        ``member``: nothing else of the spec can have changed.
        """
        if not member:
            self._compare("", self._shadow, spec, author)
        elif self._shadow.get(member, ABSENT) != (value := spec.get(member, ABSENT)):
            old = {member: self._shadow.pop(member)} if member in self._shadow else {}
            self._compare("", old, {member: value}, author)
            self._shadow |= old

    def _compare(self, at: str, old: dict[str, Any], new: Mapping[str, Any], author: Author) -> None:
        for key, value in new.items():
            before = old.get(key, ABSENT)
            if before == value:
                continue
            pointer = f"{at}/{escaped(key)}"
            if isinstance(before, dict) and isinstance(value, dict):
                self._compare(pointer, before, value, author)
                continue
            kept = _copied(value)
            self.changes.append(Change(pointer, before, kept, author))
            old[key] = _shell(kept)
        if len(old) > len(new):
            for key in [key for key in old if key not in new]:
                self.changes.append(Change(f"{at}/{escaped(key)}", old.pop(key), ABSENT, author))


class Explanation:
    """How a spec came to be; the answer is the same whether it was just built (``spec``) or read from a record."""

    def __init__(self, changes: Sequence[Change], spec: "Spec | None" = None) -> None:
        self.changes = tuple(changes)
        self.spec = cast("Spec", replayed(changes)) if spec is None else spec

    def chain(self, pointer: str) -> tuple[Change, ...]:
        """Return what was done to the value at ``pointer``, in order: each change's ``old`` is the ``new`` before it.

        The first starts from nothing, the last ends in the value that is there.

        Raises:
            InvalidArgument: it is no JSON pointer.
            NotFound: the spec has no such field; the hint names the nearest.
        """
        steps = _steps_of(self.spec, pointer)
        if steps is None:
            raise NotFound(f"the spec has no field {pointer}", hint=self._nearest(pointer))
        links: list[Change] = []
        document: dict[str, Any] = {}
        before: Any = ABSENT
        for change in self.changes:
            put(document, change.pointer, change.new)
            if not _concern(change.pointer, pointer):
                continue
            after = _value(document, steps)
            if after is before or (type(after) is type(before) and after == before):
                continue
            after = _copied(after)
            links.append(Change(pointer, before, after, change.author, _about(steps, change)))
            before = after
        return tuple(links)

    def pointers(self) -> Iterator[str]:
        """Yield the place of every field: a value, an array, an element of one whose elements have names."""
        yield from _leaves(self.spec, "")

    def _nearest(self, pointer: str) -> str:
        import difflib

        every = list(_every(self.spec, ""))
        near = difflib.get_close_matches(pointer, every, n=3, cutoff=0.6)
        parent = pointer
        while parent and parent not in every:
            parent = parent.rpartition("/")[0]
        beside = [each for each in every if parent and each.rpartition("/")[0] == parent]
        near = near or beside[:5] or [f"/{key}" for key in self.spec]
        return f"there is {', '.join(near)}"

    def plain(self, *, old: bool = True) -> list[dict[str, Any]]:
        """Return the changes as JSON; without ``old`` they are still all there is to know."""
        return [plain(change if old else change._replace(old=ABSENT)) for change in self.changes]


def replayed(changes: Iterable[Change]) -> dict[str, Any]:
    """Return what changes make of nothing."""
    document: dict[str, Any] = {}
    for change in changes:
        put(document, change.pointer, change.new)
    return document


def plain(change: Change) -> dict[str, Any]:
    """Return a change as JSON; ``old`` or ``new`` is left out where it is absent."""
    sides = {name: side for name, side in (("old", change.old), ("new", change.new)) if side is not ABSENT}
    origins = [{"said": each.words, **({"part": each.part} if each.part else {})} for each in change.origins]
    return {"pointer": change.pointer, **sides, **change.author._asdict(), "origins": origins}


def value_at(document: object, pointer: str) -> Any:
    """Return the value at a JSON pointer, ABSENT where there is none."""
    for part in parts_of(pointer):
        if isinstance(document, dict):
            document = document.get(part, ABSENT)
        elif isinstance(document, list) and part.isascii() and part.isdigit() and int(part) < len(document):
            document = document[int(part)]
        else:
            return ABSENT
    return document


def explanation_of(changes: object) -> Explanation:
    """Return the explanation that ``Explanation.plain`` was made from, with ``old`` or without.

    Raises:
        DataLoss: it is none.
    """
    document: dict[str, Any] = {}
    found: list[Change] = []
    try:
        for each in cast("list[dict[str, Any]]", changes):
            pointer, new = each["pointer"], each.get("new", ABSENT)
            old = _value(document, list(parts_of(pointer)))
            author = Author(each["tier"], each["plugin"], each["option"], each["where"])
            origins = tuple(Said(said["said"], said.get("part", "")) for said in each["origins"])
            found.append(Change(pointer, old if isinstance(old, Absent) else _copied(old), new, author, origins))
            put(document, pointer, new)
    except (TypeError, KeyError, AttributeError, IndexError, ValueError) as error:
        raise DataLoss(f"the record of how a spec came to be cannot be read: {error!r}") from error
    return Explanation(found, cast("Spec", document))


def escaped(key: str) -> str:
    """Return a member's name as a part of a JSON pointer (RFC 6901, section 3)."""
    return key.replace("~", "~0").replace("/", "~1") if "~" in key or "/" in key else key


def parts_of(pointer: str) -> list[str]:
    """Return the names and indices of a JSON pointer; the empty one has none and is the whole document.

    Raises:
        InvalidArgument: it does not begin with a slash, or has a ``~`` that is neither ``~0`` nor ``~1``.
    """
    if not pointer:
        return []
    if not pointer.startswith("/") or "~" in pointer.replace("~0", "").replace("~1", ""):
        raise InvalidArgument(f"{pointer!r} is no JSON pointer", hint="as in /process/args/0; ~1 is /, ~0 is ~")
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer[1:].split("/")]


def put(document: dict[str, Any], pointer: str, value: Any) -> None:
    """Set what a change has set, or take it away; the objects above it are there."""
    *above, key = parts_of(pointer)
    target: Any = document
    for part in above:
        target = target[part]
    if value is ABSENT:
        del target[key]
    else:
        target[key] = _copied(value)


def _copied(value: Any) -> Any:
    kind = type(value)
    if kind is str or kind is int:  # nearly all of it
        return value
    if isinstance(value, dict):
        return {key: _copied(each) for key, each in value.items()}
    return [_copied(each) for each in value] if isinstance(value, list | tuple) else value


def _shell(value: Any) -> Any:
    """Copy the objects, which a recorder changes member by member; an array it only replaces."""
    return {key: _shell(each) for key, each in value.items()} if isinstance(value, dict) else value


def _concern(changed: str, asked: str) -> bool:
    """Tell whether a change at one pointer may be one of the value at another: above it, at it or below it."""
    return not asked or changed == asked or changed.startswith(asked + "/") or asked.startswith(changed + "/")


def _about(steps: list[_Step], change: Change) -> tuple[Said, ...]:
    """Return what was said about the value at the end of a way, of all that a change follows from."""
    below = steps[len(parts_of(change.pointer)) :]
    names = [step if isinstance(step, str) else step[1] for step in below]
    return tuple(each._replace(part="") for each in change.origins if not (each.part and below) or each.part in names)


def _steps_of(document: Any, pointer: str) -> list[_Step] | None:
    """Return the way to the value at ``pointer``, None where there is none."""
    steps: list[_Step] = []
    at = ""
    for part in parts_of(pointer):
        if isinstance(document, dict) and part in document:
            steps.append(part)
            document = document[part]
        elif isinstance(document, list) and part.isascii() and part.isdigit() and int(part) < len(document):
            number = int(part)
            known = [identity(at, each, index) for index, each in enumerate(document)]
            steps.append((at, known[number], known[:number].count(known[number])))
            document = document[number]
        else:
            return None
        at = f"{at}/{escaped(part)}"
    return steps


def _value(document: Any, steps: list[_Step]) -> Any:
    """Return the value at the end of a way, ABSENT where it does not lead there."""
    for step in steps:
        if isinstance(step, str):
            document = document.get(step, ABSENT) if isinstance(document, dict) else ABSENT
        elif isinstance(document, list):
            at, wanted, number = step
            same = [each for index, each in enumerate(document) if identity(at, each, index) == wanted]
            document = same[number] if number < len(same) else ABSENT
        else:
            document = ABSENT
    return document


def identity(at: str, element: Any, index: int) -> object:
    """Return what an element of the array at ``at`` is known by."""
    if at == "/process/args":
        return index
    if at == "/process/env" and isinstance(element, str):
        return element.partition("=")[0]
    if isinstance(element, dict):
        key = _KEYS.get(at, "")
        return element[key] if isinstance(element.get(key), str) else repr(element)
    return repr(element)


def _leaves(value: Any, at: str) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from _leaves(each, f"{at}/{escaped(key)}")
    elif value and isinstance(value, list) and (at in _KEYS or at == "/process/env"):
        yield from (f"{at}/{index}" for index in range(len(value)))
    else:
        yield at


def _every(value: Any, at: str) -> Iterator[str]:
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in members:
        pointer = f"{at}/{escaped(str(key))}"
        yield pointer
        yield from _every(each, pointer)
