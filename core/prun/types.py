"""The values that flow through the pipeline, and the behaviour that a plugin supplies.

prun's own values are named tuples: immutable, safe to hand to any plugin, and five times cheaper to define at
start-up than frozen dataclasses (0.2 ms against 1 ms each, paid on every run).  OCI documents stay what they are,
JSON objects; their shapes are in ``prun.spec.document`` and ``prun.image.document``.  Behaviour is a Protocol whose
docstring is the contract.
"""

# No `from __future__ import annotations` here: typing compiles each annotation that is a string, 2 ms for all of these.

from collections.abc import Mapping
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from prun.image.document import ImageConfig
    from prun.image.registry.progress import Listener
    from prun.request.altering import Patch
    from prun.request.files import SecretRequest
    from prun.request.health import HealthRequest
    from prun.request.mounts import MountRequest
    from prun.request.observation import Observation
    from prun.request.resources import Resources
    from prun.request.supervision import LogRequest

NOTHING: Mapping[str, str] = MappingProxyType({})
NO_LIMITS: Mapping[str, tuple[int, int]] = MappingProxyType({})

EMBEDDED = "embedded"  # the engine that needs no daemon

Stage = Literal["resolve", "prepare", "spec", "console", "create", "start", "wait", "delete"]
Status = Literal["created", "running", "paused", "restarting", "stopped"]


class Platform(NamedTuple):
    """``os/architecture[/variant]`` as an image index names it; ``os_version`` matters on Windows only."""

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


class Mount(NamedTuple):
    """One entry of the spec's ``mounts`` (config.md#mounts); ``destination`` is a path in the container."""

    destination: str
    type: str = "bind"
    source: str = ""
    options: tuple[str, ...] = ()


class Layer(NamedTuple):
    """One layer of an image: ``digest`` and ``size_bytes`` of the blob, ``diff_id`` of the uncompressed tar."""

    digest: str
    diff_id: str
    media_type: str
    size_bytes: int


class Image(NamedTuple):
    """A resolved image: what was found, for one platform.

    ``name`` is the canonical reference, or the words of the user where there is none (an archive, ``scratch``).
    ``digest`` is that of the manifest; empty where no image is involved (``--rootfs``, ``scratch``).
    ``config`` is the ``config`` object of the image's config document (image-spec config.md#properties).
    """

    name: str
    digest: str
    platform: Platform
    config: "ImageConfig"
    layers: tuple[Layer, ...] = ()


OriginKind = Literal["defaults", "profile", "run", "runtimes", "environment", "flag", "call"]


class Origin(NamedTuple):
    """Where the value of an option of ``prun run`` comes from.

    ``name`` is that of the profile, run or runtime (a table of ``prun.toml``), of the environment variable, the flag
    (``--memory``), or the argument of the library's call.  ``file`` and ``line`` (from 1) are where a file says it;
    empty and 0 for the other kinds.
    """

    kind: OriginKind
    name: str = ""
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        tables = {"defaults": "[defaults]", "profile": "[profiles.{}]", "run": "[run.{}]", "runtimes": "[runtimes.{}]"}
        words = tables.get(self.kind, "{}").format(self.name)
        return f"{words} ({self.file}:{self.line})" if self.file else words


NO_ORIGINS: Mapping[str, tuple[Origin, ...]] = MappingProxyType({})


class RunRequest(NamedTuple):
    """What the user asked for; nothing here has been looked up yet.

    ``image`` is as written; empty when ``rootfs`` (an absolute directory) is given.  ``entrypoint`` None keeps the
    image's; ``()`` clears it.  ``env`` entries are ``KEY=value`` to set and ``KEY`` to remove: whoever makes the
    request has looked up the host's values.  ``options`` are the runtime's own (``--opt KEY=VALUE``, ``[runtimes.*]``),
    ``security`` the words of ``--security-opt``.  ``root`` keeps what lasts (images, snapshots), ``state`` what ends
    with the machine's uptime (bundles, the OCI runtime's state).  ``config`` is the ``prun.toml`` beside the usual
    ones, for whoever needs more of what they say; ``aliases`` are their short names for images.  ``engine_options`` say
    which engine of its kind (``prun.services.EngineModule``), ``shim`` is the runtime's (``RuntimeInfo``).

    ``monitored``: the pipeline has decided that the task outlives prun, and something else waits for it; when it has
    ended, that calls ``exit_command``.  ``again``: the container is recorded already, and ``digest`` is its image's
    manifest's: it is this one, whatever the name means by now.

    ``capture``: the caller wants stdout and stderr as bytes.  ``view_only``: the root file system is only looked
    into, nothing is unpacked or mounted (``prun spec``, runtimes that execute nothing).  ``two_step``: create and
    start are separate calls of the OCI runtime, because a plugin acts between them.  ``progress`` opens what shows how
    far an image is that has to be fetched.

    ``origins``: who set what, by the names of ``prun run``'s options with ``_`` for ``-`` (``memory``, ``cap_add``;
    also ``image`` and ``command`` where a file has them), from general to specific: the last one's value is in force,
    and of an option that may be repeated each gave its part.  What has its default is not in it.  ``explain``: why each
    field of the spec is as it is shall be kept with the container (``prun.explaining``).  ``loosens``: what the patches
    and hooks of this run let the container do that it could not without (``prun.spec.loosening``), for
    ``prun_check_spec`` to judge.  ``dry_run`` (``plan``, ``spec`` or ``json``): nothing is written
    anywhere, no program executed, and of an image that is not here only its documents are fetched (``prun.planning``).

    The other fields are options of docker and podman, each parsed by the module of ``prun.request`` that its group
    names.  Those in ``RUNTIME_FIELDS`` are refused where the runtime does not honour them.
    """

    id: str
    image: str = ""
    args: tuple[str, ...] = ()
    name: str = ""
    runtime: str = "linux"
    engine: str = EMBEDDED
    engine_options: Mapping[str, str] = NOTHING
    shim: str = ""
    entrypoint: tuple[str, ...] | None = None
    env: tuple[str, ...] = ()
    host_env: tuple[str, ...] = ()  # --env-host: what the image and ``env`` go over
    user: str = ""
    workdir: str = ""
    hostname: str = ""
    network: str = "none"
    readonly: bool = False
    terminal: bool = False
    interactive: bool = False
    remove: bool = False
    mounts: tuple[Mount, ...] = ()
    labels: Mapping[str, str] = NOTHING
    annotations: Mapping[str, str] = NOTHING
    security: tuple[str, ...] = ()
    platform: Platform | None = None
    rootfs: str = ""
    options: Mapping[str, str] = NOTHING
    root: str = ""
    state: str = ""
    config: str = ""
    aliases: Mapping[str, str] = NOTHING
    stdin: bytes | None = None
    capture: bool = False
    view_only: bool = False
    two_step: bool = False
    progress: "Callable[[], AbstractContextManager[Listener | None]] | None" = None
    monitored: bool = False
    exit_command: tuple[str, ...] = ()
    again: bool = False
    digest: str = ""
    origins: Mapping[str, tuple[Origin, ...]] = NO_ORIGINS
    explain: bool = False
    loosens: tuple[str, ...] = ()
    dry_run: str = ""

    # prun.request.mounts: ``mounts`` above are those of a caller who knows the OCI spec
    volumes: "tuple[MountRequest, ...]" = ()
    volumes_from: tuple[str, ...] = ()

    # prun.request.resources
    resources: "Resources | None" = None
    ulimits: Mapping[str, tuple[int, int]] = NO_LIMITS
    sysctls: Mapping[str, str] = NOTHING
    cgroup_parent: str = ""
    oom_score_adj: int | None = None
    shm_size_bytes: int = 0

    # prun.request.isolation; ``namespaces``: kind of the spec to host, private, container:ID, ns:PATH, ...
    namespaces: Mapping[str, str] = NOTHING
    uid_map: tuple[str, ...] = ()
    gid_map: tuple[str, ...] = ()
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    privileged: bool = False
    devices: tuple[str, ...] = ()
    device_rules: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    umask: int | None = None

    # prun.request.files; ``hosts`` are lines of /etc/hosts: ADDRESS NAME
    hosts: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    timezone: str = ""
    secrets: "tuple[SecretRequest, ...]" = ()

    # prun.request.lifecycle; ``attach``: of stdin, stdout and stderr, all when empty; ``detach_keys``: None is docker's
    init: bool = False
    timeout_s: float | None = None
    stop_signal: str = ""
    attach: tuple[str, ...] = ()
    detach_keys: str | None = None
    sig_proxy: bool = True
    preserve_fds: int = 0
    cid_file: str = ""
    pid_file: str = ""
    pull: str = "missing"
    signature_policy: str = ""
    precheck: bool = True

    # prun.request.supervision; ``restart`` is empty for no policy; ``stop_timeout_s`` None is docker's ten seconds
    detach: bool = False
    restart: str = ""
    stop_timeout_s: float | None = None
    log: "LogRequest | None" = None

    # prun.request.altering; ``hook_files`` are FILE:HOOK, the latter empty for all
    patches: "tuple[Patch, ...]" = ()
    hook_files: tuple[str, ...] = ()

    # prun.request.health
    health: "HealthRequest | None" = None

    # prun.request.observation
    observation: "Observation | None" = None


# Fields that only a runtime can honour.
RUNTIME_FIELDS = frozenset(
    (
        *("resources", "ulimits", "sysctls", "cgroup_parent", "oom_score_adj", "shm_size_bytes", "namespaces"),
        *("uid_map", "gid_map", "cap_add", "cap_drop", "privileged", "devices", "device_rules", "groups", "umask"),
        *("hosts", "dns", "dns_search", "dns_options", "timezone", "secrets", "init", "preserve_fds", "precheck"),
    )
)

# Those that need tasks which outlive prun (``RuntimeInfo.outlives``).
LIVE_FIELDS = ("detach", "restart", "log", "health")


class RuntimeInfo(NamedTuple):
    """A runtime's own description.

    ``unavailable`` says why it cannot run here, or is empty; ``remedy`` what to do about it.  ``options`` maps each
    key that ``--opt KEY=VALUE`` may set to one line of help: any other key is refused.  ``shim`` is containerd's name
    of the runtime.  ``executes`` False: nothing is executed, so no root file system is unpacked or mounted for it.
    ``honours`` are those of ``RUNTIME_FIELDS`` that it acts on: a request for any other is refused.  ``needs_root``:
    prun must be root to run it, be it of a user namespace, which the command enters by itself (``prun.rootless``).
    ``outlives``: its tasks can outlive the prun that made them, and are those of ``prun.live``.  ``detaches``: those of
    ``LIVE_FIELDS`` that it acts on where its tasks outlive prun only when they are detached.
    """

    name: str
    platforms: tuple[Platform, ...]
    unavailable: str = ""
    remedy: str = ""
    options: Mapping[str, str] = NOTHING
    shim: str = ""
    executes: bool = True
    honours: frozenset[str] = frozenset()
    needs_root: bool = False
    outlives: bool = False
    detaches: frozenset[str] = frozenset()


class PlanStep(NamedTuple):
    """One thing that a run would do.

    ``action``: fetch or load (``size_bytes``), unpack, snapshot, mount, network, execute (``argv``), assume (nobody can
    know before), or a plugin's own.  ``subject`` is what it does it with.  ``done``: it is there already, and nothing
    would be done.
    """

    stage: Stage
    action: str
    subject: str
    size_bytes: int = 0
    argv: tuple[str, ...] = ()
    done: bool = False


class ExitStatus(NamedTuple):
    """How the container's process ended; a signal ``n`` is reported as ``128 + n``."""

    code: int


class Problem(NamedTuple):
    """One thing wrong with a spec: where (a JSON pointer, RFC 6901, or empty), what, and the remedy."""

    pointer: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        where = f"{self.pointer}: " if self.pointer else ""
        return where + self.message + (f" ({self.hint})" if self.hint else "")


EventKind = Literal["resolved", "prepared", "built", "created", "started", "exited", "deleted"]


class Event(NamedTuple):
    """Something that happened to a container, for observers only; ``detail`` is JSON or None.

    resolved: the image's digest.  prepared: the root's path.  built: the finished spec.  created, started: the pid,
    or None while there is no process.  exited: the exit code.  deleted: None.
    """

    container_id: str
    kind: EventKind
    detail: object = None


class Container(NamedTuple):
    """What a later process needs to find a container's task again: the record, not the process.

    ``pid`` and ``start_time`` (clock ticks since boot) are what was recorded of its process, None and 0 if nothing was.
    ``keep``: the container stays when its task is deleted; else the engine lets go of all that it holds of it.
    """

    id: str
    runtime: str
    bundle: str
    root: str
    state: str
    pid: int | None = None
    options: Mapping[str, str] = NOTHING
    start_time: int = 0
    engine: str = EMBEDDED
    engine_options: Mapping[str, str] = NOTHING
    keep: bool = True


class FileStat(NamedTuple):
    """What a look into a root file system tells of a path; ``mode`` is ``st_mode``, ``size_bytes`` the file's size."""

    mode: int
    uid: int
    gid: int
    size_bytes: int


class Rootfs(Protocol):
    """A root file system, ready until its context ends.

    ``path`` is where it is on this machine, empty where it is not (an engine elsewhere, ``view_only``).  ``mounts``
    is how to get it, for an engine that mounts by itself.  No link leads ``read`` and ``stat`` out of the root.
    """

    path: str
    mounts: tuple[Mount, ...]

    def leave(self) -> None:
        """From now on the end of the context lets go of what it holds, and undoes nothing: the container lives on."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

    def read(self, path: str, limit_bytes: int) -> bytes:
        """Return the content of the regular file at ``path``.

        Raises:
            NotFound: there is none.
            InvalidArgument: it is no regular file (a FIFO, a device, a directory).
            ResourceExhausted: it is longer than ``limit_bytes``.
        """
        ...

    def stat(self, path: str) -> FileStat | None:
        """Return what ``path`` leads to, links followed within the root; None where there is nothing."""
        ...


class Task(Protocol):
    """One created container process.

    Contract: an exit right after ``start`` is never lost; ``wait`` may be repeated, by several threads too, and returns
    the same status; ``kill`` of a process that has ended does nothing; ``delete`` ends what still runs and may be
    called twice.
    ``pid`` is on this machine, None where there is none (before ``start`` of a one-step task, a remote engine).
    """

    @property
    def pid(self) -> int | None: ...

    def start(self) -> None:
        """Start the process.

        Raises:
            CommandNotFound: the command does not exist.
            CommandNotInvocable: it cannot be executed.
            Unavailable: the OCI runtime or the engine failed; the message carries its words.
        """
        ...

    def wait(self, timeout_s: float | None = None) -> ExitStatus | None:
        """Return the exit status, or None when ``timeout_s`` seconds pass first."""
        ...

    def kill(self, signal: int) -> None: ...

    def delete(self) -> None: ...


class Console(Protocol):
    """Carries the container's standard streams to the caller's, until its context ends.

    ``stdin``, ``stdout`` and ``stderr`` are the descriptors that the task's process gets, -1 where it has its own.
    """

    stdin: int
    stdout: int
    stderr: int

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

    def attach(self, task: Task) -> "AbstractContextManager[object]":
        """Carry data while the context lasts; on leaving it, everything the container wrote has been delivered."""
        ...

    def follow(self) -> bool:
        """Carry until the container has ended, where that is this thread's work; False when the caller has left."""
        ...

    def output(self) -> tuple[bytes, bytes]:
        """Return what was captured of stdout and stderr, empty where nothing is captured."""
        ...
