"""Who the container's process is: a USER value, looked up in the image's own files.

The host's account database is never asked (CVE-2019-14271): the image's ``/etc/passwd`` and ``/etc/group`` are read
as data, with limits, by a function that the caller supplies.

Spec: https://github.com/opencontainers/image-spec/blob/v1.1.1/config.md#properties (``User``)
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from prun.errors import InvalidArgument, NotFound
from prun.spec.linux import MAX_ID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prun.spec.document import User

    Read = Callable[[str], bytes | None]

PASSWD, GROUP = "/etc/passwd", "/etc/group"
FILE_LIMIT_BYTES = 1 << 20
LINE_LIMIT_BYTES = 1 << 16
_SHOWN = 8
_NAME = r"[A-Za-z_][A-Za-z0-9_.-]{0,255}\$?"


class _Account(NamedTuple):
    """One line of ``/etc/passwd``."""

    name: str
    uid: int
    gid: int
    home: str


def resolve_user(user: str, read: Read) -> User:
    """Turn ``""``, ``uid``, ``uid:gid``, ``name``, ``name:group`` or ``uid:group`` into numbers.

    ``read`` returns the content of a file in the image, None where there is none.  docker's rules: an empty value is
    uid 0; a uid that ``/etc/passwd`` does not know has gid 0 (the seed gave it its own number); the groups that
    ``/etc/group`` lists for the user are added only when no group is named.

    Raises:
        InvalidArgument: the value follows none of the forms, or a number is over 2147483647.
        NotFound: the image knows no such user or group.
    """
    parts = user.split(":") if user else ["0"]
    if len(parts) > 2:
        raise InvalidArgument(f"invalid USER value {user!r}: more than one colon", hint="use USER[:GROUP]")
    who = [_number_or_name(part, f"USER value {user!r}") for part in parts]
    account = _find_account(who[0], read)
    uid = account.uid if account else who[0]
    if not isinstance(uid, int):
        raise _unknown("user", uid, PASSWD, read)
    if len(who) == 2:
        return {"uid": uid, "gid": _find_group(who[1], read)}
    result: User = {"uid": uid, "gid": account.gid if account else 0}
    if account and (groups := _groups_of(account.name, read)):
        result["additionalGids"] = groups
    return result


def resolve_groups(groups: Iterable[str], read: Read) -> list[int]:
    """Return the numbers of groups, each a number or a name of the image's ``/etc/group`` (``--group-add``).

    Raises:
        InvalidArgument: one is neither a number up to 2147483647 nor a name.
        NotFound: the image knows no such group.
    """
    return [_find_group(_number_or_name(group, "--group-add"), read) for group in groups]


def home_of(uid: int, read: Read) -> str:
    """Return the home directory that the image's ``/etc/passwd`` gives ``uid``, ``/`` where it gives none."""
    account = _find_account(uid, read)
    return account.home if account and account.home.startswith("/") else "/"


def _number_or_name(part: str, what: str) -> int | str:
    # Digits are a number, never a name, also when the number is too big (CVE-2024-40635).
    if _is_number(part):
        if len(part) > 10 or int(part) > MAX_ID:
            raise InvalidArgument(f"invalid {what}: {part} is not between 0 and {MAX_ID}")
        return int(part)
    if not re.fullmatch(_NAME, part):
        raise InvalidArgument(f"invalid {what}: {part!r} is neither a number nor a name")
    return part


def _find_account(who: int | str, read: Read) -> _Account | None:
    for fields in _lines(read(PASSWD)):
        if len(fields) < 4 or (uid := _id(fields[2])) is None or (gid := _id(fields[3])) is None:
            continue
        if who == (uid if isinstance(who, int) else fields[0]):
            return _Account(fields[0], uid, gid, fields[5] if len(fields) > 5 else "")
    return None


def _find_group(who: int | str, read: Read) -> int:
    if isinstance(who, int):
        return who
    for name, gid, _ in _groups(read):
        if name == who:
            return gid
    raise _unknown("group", who, GROUP, read)


def _unknown(kind: str, name: str, path: str, read: Read) -> NotFound:
    """Return the error for a name that the image does not know, with some that it knows."""
    data = read(path)
    known = [fields[0] for fields in _lines(data) if len(fields) > 2][: _SHOWN + 1]
    evidence = f"it has {', '.join(known[:_SHOWN])}{' and more' if len(known) > _SHOWN else ''}"
    if not known:
        evidence = f"the image has no {path}" if data is None else f"{path} has nobody in it"
    return NotFound(
        f"{kind} {name!r} is not in the image's {path}", evidence=evidence, hint="use a numeric id, or one of its names"
    )


def _groups_of(name: str, read: Read) -> list[int]:
    return list(dict.fromkeys(gid for _, gid, members in _groups(read) if name in members))


def _groups(read: Read) -> Iterator[tuple[str, int, list[str]]]:
    for fields in _lines(read(GROUP)):
        if len(fields) >= 3 and (gid := _id(fields[2])) is not None:
            yield fields[0], gid, fields[3].split(",") if len(fields) > 3 else []


def _id(field: str) -> int | None:
    """Return the number, None for junk: taking junk for 0 would make someone root."""
    return int(field) if _is_number(field) and len(field) <= 10 and int(field) <= MAX_ID else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _lines(data: bytes | None) -> Iterator[list[str]]:
    """Yield the fields of each line that can be one; comments, NIS lines and binary junk are skipped."""
    for line in (data or b"")[:FILE_LIMIT_BYTES].split(b"\n"):
        text = line.strip()
        if text and len(text) <= LINE_LIMIT_BYTES and text[:1] not in b"#+-" and b"\0" not in text:
            yield text.decode("utf-8", "replace").split(":")
