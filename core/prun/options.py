"""What can be said of a run from the library: the names and types of its options, for type checkers."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from prun.image.registry.progress import Listener
    from prun.types import Mount


class RunOptions(TypedDict, total=False):
    """What can be said of a run, under the names of ``prun run``'s options; all have its defaults."""

    name: str
    id: str
    entrypoint: Sequence[str]
    env: Mapping[str, str]
    user: str
    workdir: str
    hostname: str
    network: str
    read_only: bool
    remove: bool
    mounts: Iterable[Mount]
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    security_opt: Sequence[str]
    platform: str
    rootfs: str
    opt: Mapping[str, str]
    stdin: bytes
    add_host: Sequence[str]
    attach: Sequence[str]
    blkio_weight: int
    blkio_weight_device: Sequence[str]
    cap_add: Sequence[str]
    cap_drop: Sequence[str]
    cgroup_parent: str
    cgroupns: str
    cidfile: str
    cpu_period: int
    cpu_quota: int
    cpu_shares: int
    cpus: float
    cpuset_cpus: str
    cpuset_mems: str
    detach: bool
    device: Sequence[str]
    device_cgroup_rule: Sequence[str]
    device_read_bps: Sequence[str]
    device_read_iops: Sequence[str]
    device_write_bps: Sequence[str]
    device_write_iops: Sequence[str]
    dns: Sequence[str]
    dns_option: Sequence[str]
    dns_search: Sequence[str]
    events_fd: int
    explain: bool
    gidmap: Sequence[str]
    gpus: str
    group_add: Sequence[str]
    health_cmd: str
    health_interval: str
    health_on_failure: str
    health_retries: int
    health_start_interval: str
    health_start_period: str
    health_timeout: str
    hook: Sequence[str]
    init: bool
    ipc: str
    lock: str
    log_driver: str
    log_opt: Mapping[str, str]
    memory: int | str
    memory_reservation: int | str
    memory_swap: int | str
    memory_swappiness: int
    mount: Sequence[str]
    no_healthcheck: bool
    oom_kill_disable: bool
    oom_score_adj: int
    patch: Sequence[str]
    pid: str
    pidfile: str
    pids_limit: int
    precheck: bool
    preserve_fds: int
    privileged: bool
    pull: str
    restart: str
    secret: Sequence[str]
    shm_size: int | str
    signature_policy: str
    stop_signal: str
    stop_timeout: int
    sysctl: Mapping[str, str]
    timeout: float
    timing: bool
    tmpfs: Sequence[str]
    trace: str
    tz: str
    uidmap: Sequence[str]
    ulimit: Sequence[str]
    umask: str
    unsetenv: Sequence[str]
    userns: str
    uts: str
    volume: Sequence[str]
    volumes_from: Sequence[str]


class RunnerOptions(TypedDict, total=False):
    """Whatever a runner can be given beside the files that it reads."""

    runtime: str
    engine: str
    plugins: Sequence[str] | None
    root: str
    state: str
    warn: Callable[[str], None] | None


class RegistryOptions(TypedDict, total=False):
    """How to get at a registry, beside what prun.toml and the files of logins say.

    ``progress`` is called with every piece of news, from several threads, one at a time.
    """

    platform: str
    username: str
    password: str
    auth_file: str
    cert_dir: str
    tls_verify: bool
    signature_policy: str
    progress: Listener


class ExecOptions(TypedDict, total=False):
    """What can be said of a command in a container, under the names of ``prun exec``'s options."""

    env: Mapping[str, str]
    user: str
    workdir: str
    privileged: bool
    detach: bool
    preserve_fds: int
    stdin: bytes
