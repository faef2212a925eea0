"""What a rule can be about: where to find it in a request and its spec, and which values fit it."""

from __future__ import annotations

import os
import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple

from prun.errors import InvalidArgument
from prun.image.reference import parse_reference
from prun.image.source import parse_source
from prun_policy.places import places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prun.spec.document import Spec
    from prun.types import RunRequest

NAMESPACES = ("cgroup", "ipc", "mount", "network", "pid", "user", "uts")


class Item(NamedTuple):
    """One thing that a rule judges: where it is (a JSON pointer or an option), itself, and how it is called."""

    where: str
    value: str
    shown: str


class View(NamedTuple):
    """What there is to look at: before the image has been looked up no spec, and no ``name`` of the image."""

    request: RunRequest
    name: str = ""
    spec: Spec | None = None

    @property
    def document(self) -> dict[str, Any]:
        """The spec, for whoever asks what may not be there."""
        return dict(self.spec or {})


class Subject(NamedTuple):
    """``items`` finds what is judged; ``fits(value, item)`` tells whether a rule's value is about it.

    What is denied may be more than what is allowed by the same value: ``denies`` says so.  Without ``value``, which
    checks one of a rule, there are none, and ``items`` are all that offends.  ``early``: it is known before an image is
    fetched.
    """

    verbs: tuple[str, ...]
    items: Callable[[View], Iterator[Item]]
    value: Callable[[str], str] | None = None
    fits: Callable[[str, str], bool] = str.__eq__
    denies: Callable[[str, str], bool] | None = None
    example: str = ""
    early: bool = False


def _privileged(view: View) -> Iterator[Item]:
    if view.request.privileged:
        yield Item("--privileged", "", "the container is privileged")


def _readonly(view: View) -> Iterator[Item]:
    if view.document.get("root", {}).get("readonly") is not True:
        yield Item("/root/readonly", "", "the root file system can be written (--read-only is missing)")


def _no_new_privileges(view: View) -> Iterator[Item]:
    if view.document.get("process", {}).get("noNewPrivileges") is not True:
        yield Item(
            "/process/noNewPrivileges", "", "privileges can be gained (--security-opt no-new-privileges is missing)"
        )


def _seccomp(view: View) -> Iterator[Item]:
    if not view.document.get("linux", {}).get("seccomp"):
        yield Item("/linux/seccomp", "", "no system call is filtered")


def _capabilities(view: View) -> Iterator[Item]:
    found: dict[str, Item] = {}
    for kind, names in view.document.get("process", {}).get("capabilities", {}).items():
        for index, name in enumerate(names):
            found.setdefault(name, Item(f"/process/capabilities/{kind}/{index}", name, f"capability {name}"))
    yield from found.values()


def _capability(value: str) -> str:
    word = value.upper()
    if word == "ALL":
        return "*"
    if not re.fullmatch(r"(CAP_)?[A-Z_*?]+", word):
        raise ValueError("is no capability")
    return word if word.startswith("CAP_") else f"CAP_{word}"


def _host_namespaces(view: View) -> Iterator[Item]:
    entries = {
        entry.get("type"): entry.get("path", "") for entry in view.document.get("linux", {}).get("namespaces", [])
    }
    for kind in NAMESPACES:
        if kind not in entries or (entries[kind] and _is_ours(kind, entries[kind])):
            yield Item("/linux/namespaces", kind, f"the {kind} namespace is this machine's")


def _is_ours(kind: str, path: str) -> bool:
    """Tell whether the namespace at a path is this machine's, or cannot be looked at."""
    file = {"mount": "mnt", "network": "net"}.get(kind, kind)
    try:
        there = os.stat(path)
        return any(os.path.samestat(there, os.stat(f"/proc/{process}/ns/{file}")) for process in ("self", "1"))
    except OSError:
        return True


def _namespace(value: str) -> str:
    if value not in NAMESPACES:
        raise ValueError("is no namespace")
    return value


def _bind_sources(view: View) -> Iterator[Item]:
    """Judge sources by their names, by where these lead, and by what prun has made copies of."""
    request = view.request
    bundle = os.path.join(os.path.abspath(request.state), "bundles", request.id)
    volumes = os.path.join(os.path.abspath(request.root), "volumes")
    asked = {mount.destination: mount.source for mount in request.volumes if mount.type == "bind"}
    asked |= {mount.destination: mount.source for mount in request.mounts if mount.type == "bind"}
    overlays = {mount.destination for mount in request.volumes if mount.overlay}
    for index, entry in enumerate(view.document.get("mounts", [])):
        destination, source = entry.get("destination", ""), entry.get("source", "")
        if entry.get("type") != "bind" and not {"bind", "rbind"}.intersection(entry.get("options", ())):
            continue
        where = f"/mounts/{index}/source"
        if destination in asked:
            yield from _both(where, asked.pop(destination))
        if _contains(os.path.join(bundle, "mounts"), source) and destination not in overlays:
            copied = [place for place in places(source) if not _contains(bundle, place)]
            for place in copied or ["/"]:  # of what nobody can tell, the worst is to be feared
                if not _contains(volumes, place):
                    yield Item(where, place, f"bind mount of {place if copied else 'a place without a name'}")
        elif not _contains(bundle, source) and not _contains(volumes, source):
            yield from _both(where, source)
    for destination, source in asked.items():  # it is not in the spec, whoever has seen to that
        yield from _both(f"--volume {destination}", source)


def _both(where: str, source: str) -> Iterator[Item]:
    """Judge a source by its name, and by where that leads to."""
    real = os.path.realpath(source)
    yield Item(where, os.path.normpath(source), f"bind mount of {source}")
    if real != os.path.normpath(source):
        yield Item(where, real, f"bind mount of {source}, which is {real}")


def _path(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError("is no absolute path")
    return os.path.normpath(value)


def _contains(directory: str, path: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _touches(value: str, path: str) -> bool:
    """What is denied is denied with all below it, and with all that contains it."""
    return _contains(value, path) or _contains(path, value)


def _users(view: View) -> Iterator[Item]:
    uid = view.document.get("process", {}).get("user", {}).get("uid", 0)
    yield Item("/process/user/uid", str(uid), f"user {uid}")


def _user(value: str) -> str:
    if not re.fullmatch(r"\d+(-\d+)?", value, re.ASCII):
        raise ValueError("is neither a uid nor a range of them")
    return value


def _user_fits(value: str, uid: str) -> bool:
    first, _, last = value.partition("-")
    return int(first) <= int(uid) <= int(last or first)


def _runtimes(view: View) -> Iterator[Item]:
    yield Item("--runtime", view.request.runtime, f"runtime {view.request.runtime}")


def _hooks(view: View) -> Iterator[Item]:
    for stage, hooks in view.document.get("hooks", {}).items():
        for index, hook in enumerate(hooks):
            path = os.path.normpath(hook.get("path", ""))
            yield Item(f"/hooks/{stage}/{index}/path", path, f"hook {path}")


def _registries(view: View) -> Iterator[Item]:
    """Judge the repository: of what is asked for, and of what was found."""
    request = view.request
    if request.rootfs:
        yield Item("--rootfs", "", f"the root file system {request.rootfs}, of no registry,")
        return
    if repository_of(view) == "" and (parse_source(request.image) is not None or view.name):
        yield Item("IMAGE", "", f"image {request.image}, of no registry,")
        return
    name = repository_of(view)
    if name or not request.image.startswith("sha256:"):
        yield Item("IMAGE", name, f"image {name or request.image}")


def repository_of(view: View) -> str:
    """Return the repository of the image, as ``docker.io/library/busybox``; empty where it is of none."""
    request = view.request
    try:
        if request.rootfs or request.image == "scratch" or parse_source(request.image) is not None:
            return ""
        reference = parse_reference(view.name) if view.name else parse_reference(request.image, request.aliases)
    except InvalidArgument:
        return ""
    return f"{reference.domain}/{reference.path}"


def _repository(value: str) -> str:
    domain, _, path = value.partition("/")
    if "." not in domain and ":" not in domain and domain != "localhost":
        raise ValueError("has no registry in it")
    parse_reference(f"{domain}/{path or 'any'}")
    return value.rstrip("/")


def _digests(view: View) -> Iterator[Item]:
    if not digest_of(view.request):
        yield Item("IMAGE", "", f"image {view.request.image or view.request.rootfs} is not named by its digest")


def digest_of(request: RunRequest) -> str:
    """Return the digest that the request names its image by, empty where it does not."""
    if request.rootfs or request.image.startswith("sha256:"):
        return request.image
    try:
        return "" if parse_source(request.image) is not None else parse_reference(request.image, request.aliases).digest
    except InvalidArgument:
        return ""


SUBJECTS = {
    "privileged": Subject(("deny",), _privileged, early=True),
    "capability": Subject(
        ("deny", "require"),
        _capabilities,
        _capability,
        lambda value, name: fnmatchcase(name, value),
        example="SYS_ADMIN",
    ),
    "host-namespace": Subject(("deny",), _host_namespaces, _namespace, example="network"),
    "bind-source": Subject(("deny", "require"), _bind_sources, _path, _contains, _touches, "/etc"),
    "hook": Subject(("deny", "require"), _hooks, _path, _contains, example="/usr/libexec/oci/hooks.d"),
    "user": Subject(("deny", "require"), _users, _user, _user_fits, example="1000-65535"),
    "runtime": Subject(("deny", "require"), _runtimes, str, example="linux", early=True),
    "registry": Subject(
        ("deny", "require"), _registries, _repository, _contains, example="registry.example.com/team", early=True
    ),
    "readonly-rootfs": Subject(("require",), _readonly),
    "no-new-privileges": Subject(("require",), _no_new_privileges),
    "seccomp": Subject(("require",), _seccomp),
    "digest": Subject(("require",), _digests, early=True),
    "signature": Subject(("require",), lambda _: iter(())),  # it is prun_policy.signatures that looks
}
