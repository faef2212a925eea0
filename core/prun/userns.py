"""The user namespace that a run asks for (``--userns``, ``--uidmap``, ``--gidmap``): which ids it has.

Host ids are those of prun's own user namespace: of the machine for root, of ``prun unshare`` for an ordinary user, as
podman has it (``@`` before one means the machine's in any case).  What was found stands in ``BUNDLE/userns.json`` while
the container lives: ``auto`` takes ids that no other container of the state directory has.

See user_namespaces(7).
"""

from __future__ import annotations

import glob
import json
import os
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from prun.errors import FailedPrecondition, InvalidArgument
from prun.rootfs.idmap import IdMaps, IdRange, host_id, maps_of
from prun.rootless import MAX_ID, SUBORDINATE, current_maps, is_rootless, subordinate_ranges

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from prun.types import RunRequest

# Whose subordinate ids ``auto`` takes, podman's name; where /etc/subuid has none: a range that no tool gives to users.
AUTO_USER = "containers"
AUTO_DEFAULT = (1 << 30, 1 << 28)
AUTO_SIZE, AUTO_SIZE_ROOTLESS = 65536, 1024
MAX_LINES = 340  # user_namespaces(7)


class UserNamespace(NamedTuple):
    """Its id maps, and its path where it exists already."""

    maps: IdMaps
    path: str = ""


def asks(request: RunRequest) -> bool:
    """Tell whether the container gets a user namespace of its own, or another's."""
    word = request.namespaces.get("user", "")
    return bool(request.uid_map or request.gid_map) or word not in ("", "host")


def found(request: RunRequest) -> UserNamespace | None:
    """Return the user namespace of a container: as recorded, or, before that, as it would be."""
    if not asks(request):
        return None
    return recorded(_bundle(request)) or resolve(request, auto_ranges_in_use(request))


def record(request: RunRequest, bundle: str) -> UserNamespace | None:
    """Decide on the user namespace of a new container and write it down in its bundle.

    Raises:
        InvalidArgument, FailedPrecondition: as ``resolve``.
    """
    if not asks(request):
        return None
    with _alone(request.state):
        namespace = resolve(request, auto_ranges_in_use(request))
        path = os.path.join(bundle, "userns.json")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            json.dump(namespace, file)
    return namespace


def recorded(bundle: str) -> UserNamespace | None:
    """Return what ``record`` has written, None where it has not."""
    try:
        with open(os.path.join(bundle, "userns.json"), encoding="ascii") as file:
            (uids, gids), path = json.load(file)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        return None  # being written
    return UserNamespace(IdMaps(*(tuple(IdRange(*each) for each in ranges) for ranges in (uids, gids))), path)


def resolve(request: RunRequest, taken: Iterable[IdMaps] = ()) -> UserNamespace:
    """Return the user namespace that a request asks for; ``taken`` are the maps that ``auto`` keeps away from.

    Raises:
        InvalidArgument: the words contradict each other, or make no map that the kernel takes.
        FailedPrecondition: this machine or this user has not the ids, or no such namespace.
    """
    mode, _, rest = request.namespaces.get("user", "").partition(":")
    if request.uid_map or request.gid_map:
        if mode not in ("", "private"):
            raise InvalidArgument(f"--userns {mode} cannot be used with --uidmap and --gidmap", hint="leave one out")
        return UserNamespace(_with_root(_explicit(request)))
    if mode == "ns":
        return UserNamespace(_with_root(maps_of(rest)), rest)
    if mode == "auto":
        return UserNamespace(_automatic(_options("auto", rest, ("size", "uidmapping", "gidmapping")), list(taken)))
    if mode in ("keep-id", "nomap"):
        if not is_rootless():
            raise InvalidArgument(f"--userns {mode} is for ordinary users", hint="root: --userns auto, or --uidmap")
        keep = _options("keep-id", rest, ("uid", "gid", "size")) if mode == "keep-id" else {}
        return UserNamespace(_kept(keep) if mode == "keep-id" else _without_own())
    if mode == "private":
        raise InvalidArgument("--userns private says nothing of its ids", hint="add --uidmap, or use --userns auto")
    raise InvalidArgument(f"--userns {mode!r} cannot be used here", hint="host, private, auto, keep-id, nomap, ns:PATH")


def auto_ranges_in_use(request: RunRequest) -> list[IdMaps]:
    """Return the id maps of all other containers of the state directory."""
    pattern = os.path.join(glob.escape(os.path.dirname(_bundle(request))), "*", "userns.json")
    bundles = {os.path.dirname(path) for path in glob.glob(pattern)} - {_bundle(request)}
    return [namespace.maps for bundle in bundles if (namespace := recorded(bundle))]


def parse_range(option: str, word: str) -> IdRange:
    """Parse ``CONTAINER:HOST[:SIZE]``.

    Raises:
        InvalidArgument: it is not of this form, or beyond the ids that there are.
    """
    parts = word.split(":")
    if len(parts) in (2, 3) and all(part.isascii() and part.isdigit() and len(part) <= 10 for part in parts):
        container, host, size = (*map(int, parts), 1)[:3]
        if size and max(container, host) + size - 1 <= MAX_ID:
            return IdRange(container, host, size)
    raise InvalidArgument(f"{option} {word!r} is not CONTAINER:HOST[:SIZE]", hint=f"ids from 0 to {MAX_ID}")


def checked(option: str, ranges: Sequence[IdRange]) -> tuple[IdRange, ...]:
    """Return ranges that the kernel takes.

    Raises:
        InvalidArgument: two overlap, inside or outside, or there are too many.
    """
    if len(ranges) > MAX_LINES:
        raise InvalidArgument(f"{option}: {len(ranges)} ranges, the kernel takes {MAX_LINES}")
    for side in ("container", "host"):
        in_order = sorted(ranges, key=lambda each: int(getattr(each, side)))
        for one, next_one in pairwise(in_order):
            if getattr(one, side) + one.size > getattr(next_one, side):
                raise InvalidArgument(f"{option}: {_words(one)} and {_words(next_one)} overlap")
    return tuple(ranges)


def free_range(pool: Iterable[tuple[int, int]], size: int, taken: Iterable[tuple[int, int]]) -> int | None:
    """Return the first id of the lowest ``size`` ids in ``pool`` that are not ``taken``; ranges are (first, count)."""
    blocked = sorted(taken)
    for first, count in pool:
        at = first
        for start, length in blocked:
            if at + size <= start:
                break
            at = max(at, start + length) if start + length > at else at
        if at + size <= first + count:
            return at
    return None


def _explicit(request: RunRequest) -> IdMaps:
    """Return the maps of the options; those that are missing are as the others, as with podman."""
    own = _own()
    given = []
    for option, words, outer in (("--uidmap", request.uid_map, own.uids), ("--gidmap", request.gid_map, own.gids)):
        other = "--gidmap" if option == "--uidmap" else "--uidmap"
        name, chosen = (option, words) if words else (other, request.gid_map or request.uid_map)
        ranges = checked(name, [_from_machine(name, word, outer) for word in chosen])
        for each in ranges:
            _require_ids(name, each, outer)
        given.append(ranges)
    return IdMaps(*given)


def _from_machine(option: str, word: str, outer: Sequence[IdRange]) -> IdRange:
    """Parse a range; ``@`` before the host's id means the machine's, which ``outer`` says how we call."""
    container, _, host = word.partition(":")
    parsed = parse_range(option, f"{container}:{host.removeprefix('@')}")
    if not host.startswith("@") or not is_rootless():
        return parsed
    inner = host_id([IdRange(each.host, each.container, each.size) for each in outer], parsed.host)
    if inner is None:
        raise FailedPrecondition(
            f"{option} {word!r}: id {parsed.host} is not yours", hint="see /etc/subuid, /etc/subgid"
        )
    return parsed._replace(host=inner)


def _require_ids(option: str, wanted: IdRange, outer: Sequence[IdRange]) -> None:
    """Refuse host ids that our own user namespace has not."""
    at, end = wanted.host, wanted.host + wanted.size
    for each in sorted(outer):
        if each.container <= at < each.container + each.size:
            at = each.container + each.size
    if at < end:
        have = sum(each.size for each in outer)
        raise FailedPrecondition(
            f"{option} {_words(wanted)}: there is no host id {at} here, only {have} of them",
            hint="an ordinary user has the ids of /etc/subuid and /etc/subgid, counted from 1; see prun doctor",
        )


def _automatic(options: dict[str, str], taken: list[IdMaps]) -> IdMaps:
    """Take as many ids as are asked for from those that no other container has."""
    rootless = is_rootless()
    size = _number("auto:size", options.get("size", str(AUTO_SIZE_ROOTLESS if rootless else AUTO_SIZE)))
    maps = []
    for kind, path, own in zip(("uid", "gid"), SUBORDINATE, _own(), strict=True):
        if rootless:
            pool = [(each.container, each.size) for each in own if each.container > 0]
        else:
            pool = subordinate_ranges(path, AUTO_USER, -1) or [AUTO_DEFAULT]
        index = 0 if kind == "uid" else 1
        used = [(each.host, each.size) for others in taken for each in others[index]]
        if not rootless and pool == [AUTO_DEFAULT]:
            used += _everybody(path)
        option = f"--userns auto:{kind}mapping"
        word = options.get(f"{kind}mapping", "")
        fixed = _from_machine(option, word, own) if word else None
        if fixed:
            _require_ids(option, fixed, own)
            used.append((fixed.host, fixed.size))
        first = free_range(pool, size, used)
        if first is None:
            raise FailedPrecondition(
                f"--userns auto: there are no {size} {kind}s that no other container has",
                hint=f"auto:size=NUMBER, or a larger range in {path}" + ("" if rootless else f" for {AUTO_USER!r}"),
            )
        maps.append(_around(option, fixed, IdRange(0, first, size)) if fixed else (IdRange(0, first, size),))
    return _with_root(IdMaps(*maps))


def _around(option: str, given: IdRange, free: IdRange) -> tuple[IdRange, ...]:
    """Return ``free`` with the range ``given`` in its place, as many ids in all."""
    before = IdRange(0, free.host, min(given.container, free.size))
    at = given.container + given.size
    after = IdRange(at, free.host + before.size, max(0, free.size - before.size - given.size))
    return checked(option, [each for each in (before, given, after) if each.size])


def _kept(options: dict[str, str]) -> IdMaps:
    """Give the user the own number inside, and the other numbers to the subordinate ids, in order."""
    own, maps = _own(), []
    for name, ranges in zip(("uid", "gid"), own, strict=True):
        inside = _number(f"keep-id:{name}", options[name]) if name in options else ranges[0].host
        others = sum(each.size for each in ranges) - 1
        if "size" in options:
            others = min(others, _number("keep-id:size", options["size"]))
        below = min(inside, others)
        if inside and not below:
            raise FailedPrecondition(
                "--userns keep-id needs an id for the container's root, and you have your own only",
                hint="give yourself subordinate ids, see prun doctor",
            )
        kept = [IdRange(0, 1, below), IdRange(inside, 0, 1), IdRange(inside + 1, below + 1, others - below)]
        maps.append(tuple(each for each in kept if each.size))
    return IdMaps(*maps)


def _without_own() -> IdMaps:
    """Give the container the subordinate ids only."""
    counts = [sum(each.size for each in ranges) - 1 for ranges in _own()]
    if not all(counts):
        raise FailedPrecondition(
            "--userns nomap needs subordinate ids, and you have none", hint="see prun doctor for how to get some"
        )
    return IdMaps(*((IdRange(0, 1, count),) for count in counts))


def _with_root(maps: IdMaps) -> IdMaps:
    if host_id(maps.uids, 0) is None or host_id(maps.gids, 0) is None:
        raise InvalidArgument("the user namespace has no root: container id 0 is not mapped", hint="--uidmap 0:HOST")
    return maps


def _options(mode: str, text: str, known: Sequence[str]) -> dict[str, str]:
    options = {}
    for word in text.split(",") if text else ():
        key, equals, value = word.partition("=")
        if key not in known or not equals or not value:
            raise InvalidArgument(f"--userns {mode}: {word!r} is not known", hint="=VALUE, ".join(known) + "=VALUE")
        options[key] = value
    return options


def _number(option: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= MAX_ID):
        raise InvalidArgument(f"--userns {option}={text!r} is no number of ids", hint=f"0 to {MAX_ID}")
    return int(text)


def _own() -> IdMaps:
    return current_maps()


def _everybody(path: str) -> list[tuple[int, int]]:
    """Return all ranges of a file like /etc/subuid, whoever has them."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            names = {line.partition(":")[0] for line in file}
    except OSError:
        return []
    return [each for name in names if name for each in subordinate_ranges(path, name, -1)]


def _words(each: IdRange) -> str:
    return ":".join(map(str, each))


def _bundle(request: RunRequest) -> str:
    return os.path.join(os.path.abspath(request.state), "bundles", request.id)


@contextmanager
def _alone(state: str) -> Iterator[None]:
    from prun.rootfs.claims import locked

    with locked(os.path.join(state, "userns.lock")):
        yield
