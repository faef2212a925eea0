"""Files that a container finds filled in: name resolution, host names, the time zone, secrets.

All of them are files of the bundle, made for this container and gone with it: the host's own are read and never
mounted, so no image and no OCI runtime can reach them.  They may be written to, as docker's, unless the root file
system is read-only.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prun.errors import FailedPrecondition, InvalidArgument
from prun.types import Mount

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prun.request.files import SecretRequest
    from prun.spec import SpecOpt
    from prun.spec.document import Spec
    from prun.types import RunRequest

ETC = "/etc"
LOCALHOST = (
    "127.0.0.1\tlocalhost",
    "::1\tlocalhost ip6-localhost ip6-loopback",
    "fe00::\tip6-localnet",
    "ff00::\tip6-mcastprefix",
    "ff02::1\tip6-allnodes",
    "ff02::2\tip6-allrouters",
)
HIDDEN = "*******"  # podman's, where it shows that there is a secret


def mounts(request: RunRequest) -> list[Mount]:
    """Return the mounts of these files; their sources do not exist before ``write``."""
    bundle = os.path.join(os.path.abspath(request.state), "bundles", request.id)
    found = []
    for name in _names(request):
        readonly = ("ro",) if request.readonly or name == "localtime" else ()
        found.append(Mount(f"/etc/{name}", "bind", f"{bundle}/{name}", ("rbind", "rprivate", *readonly)))
    for name, secret in _secret_files(request):
        options = ("rbind", "rprivate", "ro", "nosuid", "nodev")
        found.append(Mount(secret.target, "bind", f"{bundle}/{name}", options))
    return found


def write(request: RunRequest, bundle: str) -> None:
    """Write into ``bundle`` the files that ``mounts`` names there.

    Raises:
        NotFound: there is no such secret.
    """
    for name in _names(request):
        _write(os.path.join(bundle, name), _content(name, request))
    for name, secret in _secret_files(request):
        _write(os.path.join(bundle, name), _data(request, secret), secret.mode, secret.uid, secret.gid)


def give(request: RunRequest, bundle: str, spec: Spec) -> None:
    """Give the written files to the container's users where these are others on the host (user namespaces)."""
    linux = spec.get("linux", {})
    uids, gids = linux.get("uidMappings", []), linux.get("gidMappings", [])
    if not uids:
        return
    owners = dict.fromkeys(_names(request), (0, 0))
    owners |= {name: (secret.uid, secret.gid) for name, secret in _secret_files(request)}
    for name, (uid, gid) in owners.items():
        os.chown(os.path.join(bundle, name), _on_host(uid, uids), _on_host(gid, gids))


def spec_opts(request: RunRequest) -> list[SpecOpt]:
    """Return the option that puts secrets into the environment; where nothing will run, their data is not shown.

    Raises:
        NotFound: there is no such secret.
        InvalidArgument: its data cannot be a variable's value.
    """
    from prun.spec import with_env

    asked = [secret for secret in request.secrets if secret.type == "env"]
    return [with_env(f"{secret.target}={_text(request, secret)}" for secret in asked)] if asked else []


def _names(request: RunRequest) -> list[str]:
    """Return the files of /etc that this container gets."""
    names = ["resolv.conf", "hosts", "hostname"]
    if request.dns == ("none",):
        names.remove("resolv.conf")
    if request.timezone or os.path.isfile(f"{ETC}/localtime"):
        names.append("localtime")
    return names


def _content(name: str, request: RunRequest) -> bytes:
    if name == "localtime":
        if request.timezone in ("", "local"):
            return _read(f"{ETC}/localtime")
        from prun.request.files import ZONEINFO

        return _read(os.path.join(ZONEINFO, request.timezone))
    lines = {"resolv.conf": _resolver, "hosts": _hosts, "hostname": _hostname}[name](request)
    return b"".join(os.fsencode(line) + b"\n" for line in lines)


def _hostname(request: RunRequest) -> list[str]:
    from prun_linux.isolation import default_hostname

    shared = request.namespaces.get("uts") == "host" and not request.hostname
    return [os.uname().nodename if shared else default_hostname(request)]


def _hosts(request: RunRequest) -> list[str]:
    """Return hosts(5): what was asked for first, since the first line that fits counts.

    With the host's network it is the host's; else there is no address but localhost that its own name could have.
    """
    asked = ["\t".join(line.split(" ", 1)) for line in request.hosts]
    if request.network == "host":
        return asked + _lines("hosts")
    name = _hostname(request)[0]
    short = name.partition(".")[0]
    return [*asked, *LOCALHOST, f"127.0.0.1\t{name if short in ('', name) else f'{name} {short}'}"]


def _resolver(request: RunRequest) -> list[str]:
    """Return resolv.conf(5): the host's, where nothing else was asked for.

    Without the host's network its loopback addresses lead nowhere, and are left out, as docker does.
    """
    host = _lines("resolv.conf")
    if request.network == "host" and not (request.dns or request.dns_search or request.dns_options):
        return host
    words = [line.split() for line in host]
    servers = request.dns or [
        line[1]
        for line in words
        if line[:1] == ["nameserver"] and len(line) > 1 and (request.network == "host" or not _is_loopback(line[1]))
    ]
    domains = [line[1:] for line in words if line[:1] in (["search"], ["domain"])]
    search = request.dns_search or tuple(domains[-1] if domains else ())  # the last one counts
    options = request.dns_options or [word for line in words if line[:1] == ["options"] for word in line[1:]]
    return [
        *([f"search {' '.join(search)}"] if search not in ((), (".",)) else []),
        *(f"nameserver {server}" for server in servers),
        *([f"options {' '.join(options)}"] if options else []),
    ]


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address == "::1"


def _lines(name: str) -> list[str]:
    """Return the lines of the host's file, none where it has no such file."""
    try:
        return os.fsdecode(_read(f"{ETC}/{name}")).splitlines()
    except FileNotFoundError:
        return []


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _secret_files(request: RunRequest) -> Iterator[tuple[str, SecretRequest]]:
    """Yield the secrets that are files, with their names in the bundle."""
    for number, secret in enumerate(request.secrets):
        if secret.type == "mount":
            yield f"secret-{number}", secret


def _data(request: RunRequest, secret: SecretRequest) -> bytes:
    from prun.secrets import Secrets

    return Secrets(request.root).find(secret.name).data


def _text(request: RunRequest, secret: SecretRequest) -> str:
    data = _data(request, secret)
    try:
        if b"\0" not in data:
            return HIDDEN if request.view_only else data.decode()
    except UnicodeDecodeError:
        pass
    raise InvalidArgument(f"secret {secret.name!r} cannot be a variable's value: it is no text", hint="use type=mount")


def _on_host(number: int, mappings: list[dict[str, int]]) -> int:
    """Return what an id in the container is on the host (config-linux.md#user-namespace-mappings)."""
    for entry in mappings:
        if 0 <= (offset := number - entry["containerID"]) < entry["size"]:
            return entry["hostID"] + offset
    raise InvalidArgument(f"id {number} of a secret is not mapped in the user namespace", hint="choose one that is")


def _write(path: str, data: bytes, mode: int = 0o644, uid: int = 0, gid: int = 0) -> None:
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(data)
            if uid or gid:
                os.fchown(file.fileno(), uid, gid)
            os.fchmod(file.fileno(), mode)
    except OSError as error:  # the disk is full, or there is no such id in the user namespace that we are in
        owner = f" for uid {uid} and gid {gid}" if uid or gid else ""
        raise FailedPrecondition(f"{path} cannot be written{owner}: {error.strerror}") from error
