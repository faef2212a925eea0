"""What made a run, as a file: ``prun run --lock``, ``prun replay``, ``prun diff``.

A lock is JSON: ``lock`` (its format), ``prun``, ``image`` (name, digest, platform), ``request`` (as it is kept with a
container, without what belongs to one), ``spec`` (``prun.spec.normal``), ``specHash``, ``runtime``, ``plugins`` (each
one's distribution and version), ``hooks`` (the sha256 of the files of ``--hook``), ``machine`` (what the kernel and the
runtime are and can).  One that is read is somebody else's: every value in it is checked before it is used.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from prun import __version__
from prun.errors import DataLoss, FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, ResourceExhausted
from prun.request.checking import check_fields
from prun.request.stored import NOT_STORED, dumped, loaded
from prun.spec.difference import Difference, differences
from prun.spec.normal import hash_of, normalised
from prun.spec.shape import check_shape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prun.plugins import Hooks
    from prun.spec.document import Spec
    from prun.types import Image, RunRequest

FORMAT = 1
LIMIT_BYTES = 8 << 20
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# What is this store's, or says who asked for it.
_NOT_LOCKED = frozenset(
    ("aliases", "config", "engine", "engine_options", "explain", "id", "origins", "root", "shim", "state", "two_step")
)
_PARTS = {
    "lock": int, "prun": str, "image": dict, "request": dict, "spec": dict, "specHash": str, "runtime": str,
    "plugins": dict, "hooks": dict, "machine": dict,
}  # fmt: skip
# What a replay takes from the lock, or follows from what it compares.
_NOT_COMPARED = ("lock", "request", "specHash")


class Lock(NamedTuple):
    """A lock that has been checked: ``document`` as written, ``request`` as it can be run in no store yet."""

    document: Mapping[str, Any]
    request: RunRequest


def lock_of(request: RunRequest, image: Image, spec: Spec, hooks: Hooks) -> dict[str, Any]:
    """Return what makes a run, whose request it is before the pipeline has settled it."""
    fields = {key: value for key, value in json.loads(dumped(request)).items() if key not in _NOT_LOCKED}
    document = {
        "lock": FORMAT,
        "prun": __version__,
        "image": {"name": image.name, "digest": image.digest, "platform": str(image.platform)},
        "request": fields,
        "spec": normal_spec(request, spec),
        "specHash": "",
        "runtime": request.runtime,
        "plugins": hooks.versions(),
        "hooks": {path: _sha256(path) for path in _hook_paths(request)},
        "machine": {**_machine(), **hooks.facts(request)},
    }
    document["specHash"] = hash_of(document["spec"])
    return document


def normal_spec(request: RunRequest, spec: Spec) -> Spec:
    """Return the spec of a request without what belongs to one run of it."""
    auto = request.namespaces.get("user", "").startswith("auto")
    return normalised(spec, container_id=request.id, root=request.root, state=request.state, auto_ids=auto)


def write_lock(path: str, document: Mapping[str, Any]) -> None:
    """Write a lock; one that was there is replaced at once.  It has the values of variables: nobody else may read it.

    Raises:
        PermissionDenied: it cannot be written.
    """
    new = f"{path}.{os.getpid()}.new"
    try:
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with open(fd, "w", encoding="utf-8") as file:
                file.write(json.dumps(document, indent=2) + "\n")
            os.replace(new, path)
        except BaseException:
            os.unlink(new)
            raise
    except OSError as error:
        raise PermissionDenied(f"lock {path!r} cannot be written: {error.strerror}") from error


def read_lock(path: str) -> Lock:
    """Read a lock.

    Raises:
        NotFound, PermissionDenied: the file cannot be read.
        ResourceExhausted: it is too long.
        InvalidArgument: it is none, or a value is of the wrong kind.
    """
    document = read_document(path)
    try:
        return checked_lock(document, path)
    except RecursionError as error:
        raise InvalidArgument(f"lock {path!r} is nested too deeply") from error


def read_document(path: str) -> dict[str, Any]:
    """Read a file with one JSON object: a lock, or a spec; raises as ``read_lock``."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), "rb") as file:
            data = file.read(LIMIT_BYTES + 1)
    except FileNotFoundError as error:
        raise NotFound(f"file {path!r} does not exist") from error
    except OSError as error:
        raise PermissionDenied(f"file {path!r} cannot be read: {error.strerror}") from error
    if len(data or b"") > LIMIT_BYTES:
        raise ResourceExhausted(f"file {path!r} has over {LIMIT_BYTES} bytes")
    try:
        document = json.loads(data or b"", parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"file {path!r} is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidArgument(f"file {path!r} is not a JSON object", hint="a lock (run --lock), or a spec")
    return document


def is_lock(document: Mapping[str, Any]) -> bool:
    """Tell whether a document says that it is a lock."""
    return "lock" in document


def checked_lock(document: Mapping[str, Any], path: str) -> Lock:
    """Check a document; raises as ``read_lock``."""
    what = f"lock {path!r}"
    for key, kind in _PARTS.items():
        if type(document.get(key)) is not kind:
            raise InvalidArgument(f"{what}: /{key} is missing or of the wrong type", hint="prun run --lock writes one")
    if unknown := sorted(document.keys() - _PARTS.keys()):
        raise InvalidArgument(f"{what}: /{unknown[0]} is not known", hint="it may be of a newer prun")
    if document["lock"] != FORMAT:
        raise InvalidArgument(f"{what} has format {document['lock']}, this prun reads {FORMAT}")
    for table in ("image", "plugins", "hooks", "machine"):
        for key, value in document[table].items():
            if not isinstance(value, str):
                raise InvalidArgument(f"{what}: /{table}/{key} is no text")
    image = document["image"]
    if image.keys() != {"name", "digest", "platform"} or not (not image["digest"] or DIGEST.fullmatch(image["digest"])):
        raise InvalidArgument(f"{what}: /image has not a name, a digest and a platform")
    check_shape(document["spec"], what)
    if hash_of(document["spec"]) != document["specHash"]:
        raise InvalidArgument(f"{what}: the spec is not the one of /specHash", hint="it has been changed by hand")
    return Lock(document, _request_of(document, what))


def _request_of(document: Mapping[str, Any], what: str) -> RunRequest:
    from prun.image.platform import parse_platform
    from prun.types import RunRequest

    names = document["request"].keys()
    allowed = {*RunRequest._fields} - _NOT_LOCKED - NOT_STORED
    if unknown := sorted(names - allowed):
        raise InvalidArgument(f"{what}: /request/{unknown[0]} is not known", hint="it may be of a newer prun")
    try:
        request = loaded(json.dumps({**document["request"], "id": ""}))
    except (DataLoss, RecursionError) as error:
        raise InvalidArgument(f"{what}: /request cannot be read: {error}") from error
    kept = set(json.loads(dumped(request))) | names
    check_fields(request, kept - {"id"}, what)
    platform = parse_platform(document["image"]["platform"])
    return request._replace(
        runtime=document["runtime"], platform=platform, image=request.image and document["image"]["name"]
    )


def check_hooks(lock: Lock, path: str) -> None:
    """Refuse a run whose hook files are not those that were locked: they are code.

    Raises:
        FailedPrecondition: one has changed, or is not there.
    """
    for file in _hook_paths(lock.request):
        locked = lock.document["hooks"].get(file, "")
        if not locked or _sha256(file) != locked:
            raise FailedPrecondition(
                f"lock {path!r}: the hook file {file!r} is not the one that was locked", hint="lock the run again"
            )


def compared(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """Return what differs between two locks, or between the parts that two documents both have."""
    found: list[Difference] = []
    for key in was:
        if key in now and key not in _NOT_COMPARED:
            first, second = was[key], now[key]
            if key == "image":  # of a container, less is known
                both = first.keys() & second.keys()
                first, second = ({part: side[part] for part in sorted(both)} for side in (first, second))
            found += differences(first, second, f"/{key}")
    return found


def refuse_differences(found: Sequence[Difference], path: str) -> None:
    """Refuse a replay that is not the same run (``--strict``).

    Raises:
        FailedPrecondition: there are differences; the message names their fields.
    """
    if found:
        fields = ", ".join(each.pointer for each in found[:10]) + (", ..." if len(found) > 10 else "")
        raise FailedPrecondition(
            f"the run of lock {path!r} would not be the same: {fields}",
            evidence="; ".join(said(each) for each in found[:3]),
            hint="leave out --strict to run it all the same",
        )


def said(difference: Difference) -> str:
    """Say a difference in one line of ASCII."""
    from prun.spec.provenance import ABSENT

    pointer, first, second = difference
    if second is ABSENT:
        return f"- {pointer}: {json.dumps(first)}"
    if first is ABSENT:
        return f"+ {pointer}: {json.dumps(second)}"
    return f"! {pointer}: {json.dumps(first)} -> {json.dumps(second)}"


def _hook_paths(request: RunRequest) -> list[str]:
    return [word.rpartition(":")[0] for word in request.hook_files]


def _sha256(path: str) -> str:
    """Return the digest of a file, empty where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return f"sha256:{hashlib.sha256(file.read(LIMIT_BYTES)).hexdigest()}"
    except OSError:
        return ""


def _machine() -> dict[str, str]:
    if not hasattr(os, "uname"):
        return {}
    name = os.uname()
    return {"os": name.sysname, "kernel": name.release, "machine": name.machine}


def _refuse(word: str) -> object:
    raise ValueError(f"{word} is no JSON")
