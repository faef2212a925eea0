"""Where passwords for registries are kept: docker's and podman's files, and the helpers that these name.

    $REGISTRY_AUTH_FILE, or --authfile            this one alone
    $DOCKER_CONFIG/config.json (~/.docker)         docker's; ``prun login`` writes here
    $XDG_RUNTIME_DIR/containers/auth.json          podman's
    $XDG_CONFIG_HOME/containers/auth.json          podman's, and it lasts

The first that knows the registry counts.  A helper ``NAME`` is the program ``docker-credential-NAME``, which is told
what to do in one word and gets the rest on stdin.

See containers-auth.json(5) and https://github.com/docker/docker-credential-helpers/blob/v0.8.2/README.md
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from prun.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, Unavailable
from prun.image.fields import load_object
from prun.image.reference import DEFAULT_DOMAIN
from prun.image.registry.auth import ANONYMOUS, Login, decode_basic, encode_json
from prun.image.storage import locked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_FILE_BYTES = 4 << 20
MAX_HELPER_BYTES = 1 << 20
HELPER_S = 60
# The name by which docker knows docker.io.
_HUB_KEY = "https://index.docker.io/v1/"
_HUB_HOSTS = frozenset(("index.docker.io", "docker.io", "registry-1.docker.io"))


def find_login(name: str, auth_file: str = "") -> Login:
    """Return who we are to the repository or registry ``name`` (``HOST/PATH``), anonymous where nothing says.

    Raises:
        InvalidArgument: a file is malformed.
        PermissionDenied: others may write to it.
        Unavailable: a helper fails.
    """
    for path in _paths(auth_file):
        if os.path.exists(path) and (found := _in_file(_read(path), name, path)):
            return found
    return ANONYMOUS


def store_login(registry: str, login: Login, auth_file: str = "") -> str:
    """Keep a login and say where: in a file, or with a helper that the file names.

    Raises:
        Unavailable: the helper, or the file system, fails.
    """
    path = next(_paths(auth_file))
    with _changing(path) as config:
        if helper := _helper(config, registry, path):
            document = {"ServerURL": _key(registry), "Username": login.username, "Secret": login.password}
            _call(helper, "store", encode_json(document))
            config.setdefault("auths", {})[_key(registry)] = {}  # docker's way to remember that there is one
            return f"credential helper {helper}"
        config.setdefault("auths", {})[_key(registry)] = {"auth": login.basic}
    return path


def remove_logins(registry: str, auth_file: str = "") -> list[str]:
    """Forget the logins of a registry, ``""`` for all, and return the names of those that there were."""
    removed: list[str] = []
    for path in _paths(auth_file):
        if not os.path.exists(path):
            continue
        with _changing(path) as config:
            auths = config.get("auths", {})
            gone = [key for key in auths if not registry or _plain(key) == _plain(_key(registry))]
            names = gone or ([_key(registry)] if registry else [])
            for key in names:
                if (helper := _helper(config, _plain(key), path)) and _asked(helper, key):
                    _call(helper, "erase", key.encode())
                    removed.append(_plain(key))
            removed += [_plain(key) for key in gone if auths.pop(key)]
    return list(dict.fromkeys(removed))


def _paths(auth_file: str) -> Iterator[str]:
    if only := auth_file or os.environ.get("REGISTRY_AUTH_FILE", ""):
        yield os.path.abspath(only)
        return
    home = os.path.expanduser("~")
    yield os.path.join(os.environ.get("DOCKER_CONFIG") or os.path.join(home, ".docker"), "config.json")
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/containers/{os.geteuid()}"
    yield os.path.join(runtime, "containers" if "XDG_RUNTIME_DIR" in os.environ else "", "auth.json")
    yield os.path.join(os.environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config"), "containers", "auth.json")


def _read(path: str) -> dict[str, Any]:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            info = os.fstat(file.fileno())
            if info.st_uid not in (0, os.geteuid()) or info.st_mode & 0o022:
                raise PermissionDenied(
                    f"auth file {path} may be changed by others (uid {info.st_uid}, mode {info.st_mode & 0o777:o})",
                    hint=f"chown it to yourself, and chmod 600 {path}",
                )
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise PermissionDenied(f"auth file {path} cannot be read: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise InvalidArgument(f"auth file {path} is longer than {MAX_FILE_BYTES} bytes")
    config = load_object(data or b"{}", f"auth file {path}")
    for key in ("auths", "credHelpers"):
        if not isinstance(config.get(key, {}), dict):
            raise InvalidArgument(f"auth file {path}: {key} is no object")
    return config


def _in_file(config: Mapping[str, Any], name: str, path: str) -> Login | None:
    host = name.partition("/")[0]
    if (helper := _helper(config, host, path)) and (found := _asked(helper, _key(host))):
        return found
    entries = {_plain(key): value for key, value in config.get("auths", {}).items()}
    part = name  # the longest name that fits: a repository may have a login of its own (containers-auth.json(5))
    while part:
        for key in _HUB_HOSTS if part in _HUB_HOSTS else (part,):
            if key in entries and (found := _login(entries[key], f"auth file {path}: {key}")):
                return found
        part = part.rpartition("/")[0]
    return None


def _login(entry: object, where: str) -> Login | None:
    if not isinstance(entry, dict) or not all(isinstance(entry.get(key, ""), str) for key in _ENTRY_KEYS):
        raise InvalidArgument(f"{where} is malformed")
    username, password = entry.get("username", ""), entry.get("password", "")
    if entry.get("auth"):
        try:
            username, password = decode_basic(entry["auth"])
        except InvalidArgument as error:
            raise InvalidArgument(f"{where}: {error}") from None  # its cause would show the text
    found = Login(username, password, entry.get("identitytoken", ""), entry.get("registrytoken", ""))
    return found if any(found) else None


_ENTRY_KEYS = ("auth", "username", "password", "identitytoken", "registrytoken")


def _key(registry: str) -> str:
    return _HUB_KEY if registry in _HUB_HOSTS else registry


def _plain(key: str) -> str:
    """Return the host, and the path of a repository, of a key: docker once wrote whole URLs."""
    name = key.partition("://")[2] or key
    name = re.sub(r"/v[12]/?$", "", name).rstrip("/")
    return DEFAULT_DOMAIN if name in _HUB_HOSTS else name


def _helper(config: Mapping[str, Any], registry: str, path: str) -> str:
    """Return the name of the helper for a registry, empty for none."""
    helpers = config.get("credHelpers", {})
    name = helpers.get(registry, helpers.get(_key(registry), config.get("credsStore", "")))
    if not isinstance(name, str) or (name and not re.fullmatch("[a-z0-9-]+", name)):
        raise InvalidArgument(f"auth file {path}: {str(name)[:100]!r} is no name of a credential helper")
    return name


def _asked(helper: str, server: str) -> Login | None:
    """Return what a helper knows of a server, None where it knows nothing."""
    data = _call(helper, "get", server.encode())
    if data is None:
        return None
    document = load_object(data, f"answer of credential helper {helper}")
    username, secret = document.get("Username", ""), document.get("Secret", "")
    if not isinstance(username, str) or not isinstance(secret, str):
        raise InvalidArgument(f"credential helper {helper} gives no name and secret")
    if not secret:
        return None
    return Login(identity_token=secret) if username == "<token>" else Login(username, secret)


def _call(helper: str, verb: str, stdin: bytes) -> bytes | None:
    """Run a helper and return what it says; None where it says that it has no such login."""
    import shutil
    import subprocess

    program = shutil.which(f"docker-credential-{helper}")
    if program is None:
        raise NotFound(f"credential helper docker-credential-{helper} is not installed")
    try:
        done = subprocess.run([program, verb], input=stdin, capture_output=True, timeout=HELPER_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        raise Unavailable(f"credential helper {helper} does not answer") from None
    if done.returncode and b"not found" in done.stdout + done.stderr:
        return None
    if done.returncode or len(done.stdout) > MAX_HELPER_BYTES:
        # What it says is not repeated: it may be what it should keep.
        raise Unavailable(f"credential helper {helper} fails to {verb}: exit code {done.returncode}")
    return done.stdout


@contextmanager
def _changing(path: str) -> Iterator[dict[str, Any]]:
    """Read a file to change it, alone with it; written anew, private to us, when the block ends without an error."""
    path = os.path.realpath(path)  # whoever keeps it elsewhere has put a link here
    try:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        with locked(os.path.dirname(path)):
            config = _read(path) if os.path.exists(path) else {}
            yield config
            _write(path, encode_json(config))
    except OSError as error:
        raise FailedPrecondition(f"auth file {path} cannot be written: {error.strerror}") from error


def _write(path: str, data: bytes) -> None:
    temporary = f"{path}.{os.urandom(8).hex()}"
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            os.fchmod(file.fileno(), 0o600)  # whatever the umask says
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
