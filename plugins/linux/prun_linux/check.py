"""What is wrong with a finished spec that its JSON schema cannot say.

Each check looks at one thing and yields every problem it finds; all are reported together.

Spec: https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config.md
"""

from __future__ import annotations

import os
import re
from posixpath import normpath
from typing import TYPE_CHECKING

from prun.errors import PrunError
from prun.spec.linux import CAPABILITIES, RLIMITS
from prun.types import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prun.spec.document import MountEntry, Spec
    from prun.types import RunRequest

CAP_SYS_RESOURCE = 24
_INFINITY = 2**64 - 1
# Below /proc runc mounts over these only: lxcfs has such.
_PROC_FILES = frozenset(
    f"/proc/{name}"
    for name in (
        *("cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo", "net/dev"),
        *("sys/kernel/ns_last_pid", "sys/crypto/fips_enabled"),
    )
)


def check_spec(request: RunRequest, spec: Spec) -> list[Problem]:
    """Return every problem that any check finds."""
    checks = (_args, _cwd, _env, _capabilities, _rlimits, _oom_score, _hostname)
    problems = [problem for check in checks for problem in check(spec)]
    problems += [*_too_little(request, spec), *_limits(request, spec)]
    problems += _mounts(request, spec)
    if bool(spec.get("process", {}).get("terminal")) != request.terminal:
        problems.append(Problem("/process/terminal", "differs from the request, so the console would not fit", "-t"))
    return problems


def _args(spec: Spec) -> Iterator[Problem]:
    # That there is a command at all, prun.builtin.defaults has checked.
    if spec.get("process", {}).get("args", [])[:1] == [""]:
        yield Problem("/process/args/0", "the command is an empty string")


def _cwd(spec: Spec) -> Iterator[Problem]:
    cwd = spec.get("process", {}).get("cwd", "")
    clean = "/" + normpath(cwd).lstrip("/")
    if not cwd.startswith("/"):
        yield Problem("/process/cwd", f"{cwd!r} is not an absolute path")
    elif _within(clean, "/proc") or _within(clean, "/dev/fd"):
        # CVE-2024-21626: a descriptor leaked by whoever is between us and the process is a way out of the root.
        yield Problem("/process/cwd", f"{cwd!r} may lead out of the container", "choose another with -w")
    yield from _unprintable("/process/cwd", cwd)


def _env(spec: Spec) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, entry in enumerate(spec.get("process", {}).get("env", [])):
        key, has_value, _ = entry.partition("=")
        if not key or not has_value or "\0" in entry:
            yield Problem(f"/process/env/{index}", f"{entry!r} is not KEY=value")  # CVE-2026-57231
        if key in seen:
            yield Problem(f"/process/env/{index}", f"{key!r} is set twice")
        seen.add(key)


def _capabilities(spec: Spec) -> Iterator[Problem]:
    for kind, names in spec.get("process", {}).get("capabilities", {}).items():
        for name in names if isinstance(names, list) else ():
            if name not in CAPABILITIES:
                yield Problem(f"/process/capabilities/{kind}", f"{name!r} is not known", "see capabilities(7)")


def _rlimits(spec: Spec) -> Iterator[Problem]:
    for index, limit in enumerate(spec.get("process", {}).get("rlimits", [])):
        pointer = f"/process/rlimits/{index}"
        if limit["type"] not in RLIMITS:
            yield Problem(pointer, f"{limit['type']!r} is not known", "see getrlimit(2)")
        elif limit["soft"] > limit["hard"]:
            yield Problem(pointer, f"{limit['type']}: soft {limit['soft']} is over hard {limit['hard']}")
        elif (own := _own_hard_limit(limit["type"])) < limit["hard"] and not may_raise_limits():
            remedy = "lower it, or run prun with CAP_SYS_RESOURCE"
            yield Problem(pointer, f"{limit['type']}: hard {limit['hard']} is over this process's own {own}", remedy)
        elif limit["type"] == "RLIMIT_NOFILE" and limit["hard"] > (most := _most_open_files()):
            remedy = f"at most {most}, or raise it: sysctl fs.nr_open"
            yield Problem(pointer, f"RLIMIT_NOFILE: hard {limit['hard']} is over this machine's fs.nr_open", remedy)


def _too_little(request: RunRequest, spec: Spec) -> Iterator[Problem]:
    """Find limits that the OCI runtime itself dies of: it has them when it starts the command (measured)."""
    name, seccomp = _runtime_name(request), "seccomp" in spec.get("linux", {})
    least = {"RLIMIT_NOFILE": 11 if seccomp else 8, "RLIMIT_CPU": 1}
    if name == "crun":
        least["RLIMIT_NOFILE"] = 32
    if seccomp:
        least |= {"RLIMIT_FSIZE": 1 << 16} if name == "crun" else {"RLIMIT_DATA": 64 << 20}
    for index, limit in enumerate(spec.get("process", {}).get("rlimits", [])):
        kind, soft = limit["type"], limit["soft"]
        if soft < (needed := least.get(kind, 0)):
            reason = f"--ulimit {kind[7:].lower()}={soft}: {name or 'the OCI runtime'} starts nothing with so little"
            yield Problem(f"/process/rlimits/{index}", reason, f"at least {needed}")


def _most_open_files() -> int:
    with open("/proc/sys/fs/nr_open", encoding="ascii") as file:
        return int(file.read())


def clamped(limits: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """Lower default rlimits to what this process may give: nobody asked for them, so none is worth a refusal."""
    if may_raise_limits():
        return dict(limits)
    own = {name: _own_hard_limit(name) for name in limits}
    return {name: (min(soft, own[name]), min(hard, own[name])) for name, (soft, hard) in limits.items()}


def _own_hard_limit(name: str) -> int:
    import resource

    hard = resource.getrlimit(getattr(resource, name))[1] if hasattr(resource, name) else -1
    return _INFINITY if hard == resource.RLIM_INFINITY else hard


def may_raise_limits() -> bool:
    """Tell whether we have CAP_SYS_RESOURCE over the machine: in a user namespace it is worth nothing for this."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        effective = next((line.split()[1] for line in file if line.startswith("CapEff:")), "0")
    if not int(effective, 16) >> CAP_SYS_RESOURCE & 1:
        return False
    with open("/proc/self/uid_map", encoding="ascii") as file:
        return file.read().split() == ["0", "0", str(2**32 - 1)]


def _oom_score(spec: Spec) -> Iterator[Problem]:
    asked = spec.get("process", {}).get("oomScoreAdj")
    if asked is None:
        return
    with open("/proc/self/oom_score_adj", encoding="ascii") as file:
        own = int(file.read())
    if asked < own and not may_raise_limits():
        remedy = f"at least {own}, or run prun with CAP_SYS_RESOURCE"
        yield Problem("/process/oomScoreAdj", f"--oom-score-adj {asked} is under this process's own {own}", remedy)


def _limits(request: RunRequest, spec: Spec) -> Iterator[Problem]:
    from prun_linux.isolation import CGROUP_PARENT

    linux = spec.get("linux", {})
    path = linux.get("cgroupsPath", CGROUP_PARENT)
    if linux.get("resources", {}).keys() - {"devices"} or not _within(path, CGROUP_PARENT):
        from prun_linux import limits

        yield from limits.problems(spec, request.options.get("binary", ""))
    if linux.get("sysctl"):
        from prun_linux import sysctls

        yield from sysctls.problems(spec)


def _hostname(spec: Spec) -> Iterator[Problem]:
    kinds = [namespace["type"] for namespace in spec.get("linux", {}).get("namespaces", [])]
    if spec.get("hostname") and "uts" not in kinds:
        yield Problem("/hostname", "would rename the host: there is no uts namespace")


def _mounts(request: RunRequest, spec: Spec) -> Iterator[Problem]:
    seen: list[str] = []
    for index, mount in enumerate(spec.get("mounts", [])):
        pointer = f"/mounts/{index}"
        destination = mount.get("destination", "")
        clean = "/" + normpath(destination).lstrip("/")
        if not destination.startswith("/"):
            yield Problem(f"{pointer}/destination", f"{destination!r} is not an absolute path")
        elif clean == "/":
            yield Problem(f"{pointer}/destination", "a mount over the root hides the image", "use --rootfs")
        for child in seen:
            if _within(child, clean) and child != clean:
                yield Problem(f"{pointer}/destination", f"{clean} hides {child}, which is mounted before it")
        seen.append(clean)
        yield from _place_for(spec, index, clean)
        if _hides_proc(clean, mount):
            yield Problem(f"{pointer}/destination", f"the OCI runtimes mount nothing at {clean}", "choose another path")
        yield from _unprintable(f"{pointer}/destination", destination)
        yield from _mount_source(request, pointer, mount)
        yield from _propagation(pointer, mount)
        yield from _mapped_owner(spec, pointer, mount)
        if _is_flat_bind(mount) and not _is_pinned(request, mount) and _runtime_name(request) == "crun":
            remedy = "leave out bind-recursive=disabled, or use runc: --opt binary=runc"
            yield Problem(f"{pointer}/options", f"crun mounts at {clean} what is mounted below the source, too", remedy)


def _mapped_owner(spec: Spec, pointer: str, mount: MountEntry) -> Iterator[Problem]:
    """Find a tmpfs that shall belong to an id which the container's user namespace has not."""
    linux = spec.get("linux", {})
    maps = {"uid": linux.get("uidMappings", []), "gid": linux.get("gidMappings", [])}
    for option in mount.get("options", []) if mount.get("type") == "tmpfs" else ():
        kind, _, number = option.partition("=")
        if not maps.get(kind) or not number.isdigit():
            continue
        if not any(0 <= int(number) - each["containerID"] < each["size"] for each in maps[kind]):
            yield Problem(f"{pointer}/options", f"{option} is not mapped in the user namespace", "map more ids")


def _place_for(spec: Spec, index: int, path: str) -> Iterator[Problem]:
    """Find mounts that no OCI runtime can make, and those that it cannot start a process with."""
    pointer, mounts = f"/mounts/{index}/destination", spec.get("mounts", [])
    source, options = mounts[index].get("source", ""), mounts[index].get("options", [])
    binds = not {"bind", "rbind"}.isdisjoint(options)
    if path == "/dev" and (("nodev" in options) if not binds else not os.path.exists(f"{source}/null")):
        yield Problem(pointer, "a process needs /dev/null", "add dev to the options, or mount the host's /dev")
    elif path == "/dev/ptmx" or (path == "/dev/null" and binds and os.path.isdir(source)):
        yield Problem(pointer, f"the OCI runtimes have {path} for themselves", "choose another path")
    above = [mount for mount in mounts[:index] if _within(path, mount.get("destination", "")) and path != "/"]
    over = max(above, key=lambda mount: len(mount.get("destination", "")), default=None)
    if over is None or over.get("destination") == path:
        return
    kernel = over.get("type") == "sysfs"
    outer = "/sys" if kernel else over.get("source", "")
    if not kernel and {"bind", "rbind"}.isdisjoint(over.get("options", [])):
        return
    here = outer + path.removeprefix(over.get("destination", ""))
    if os.path.exists(outer) and not os.path.isdir(outer):
        yield Problem(pointer, f"{over.get('destination')}, where it would be, is a file")
    elif (kernel or "ro" in over.get("options", [])) and os.path.isdir(outer) and not os.path.lexists(here):
        yield Problem(pointer, f"{over.get('destination')}, where it would be made, is read-only", "make it before")


def _propagation(pointer: str, mount: MountEntry) -> Iterator[Problem]:
    """Refuse to share with a mount of the host that shares with nobody: nothing would come through (moby's rule)."""
    asked = [word for word in mount.get("options", []) if word.removeprefix("r") in ("shared", "slave")]
    if not asked or "\0" in mount.get("source", "") or not os.path.exists(mount.get("source", "")):
        return
    source = os.path.realpath(mount.get("source", ""))
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        lines = [line.split() for line in file]
    # Of mounts that hide each other the last one counts: max() takes the first of equals, so the list is turned round.
    over = [line for line in reversed(lines) if _within(source, line[4].encode().decode("unicode_escape"))]
    found = max(over, key=lambda line: len(line[4]), default=[])
    tags = {field.partition(":")[0] for field in found[6 : found.index("-")]} if found else set()
    if "shared" not in tags and not (asked[0].endswith("slave") and "master" in tags):
        remedy = f"mount --make-shared {found[4]}" if found else ""
        yield Problem(f"{pointer}/options", f"{asked[0]}: {source} is not on a shared mount of the host", remedy)


def _is_flat_bind(mount: MountEntry) -> bool:
    """Tell whether what is mounted below the source shall not be seen: crun 1.8.1 shows it."""
    options = mount.get("options", [])
    return "bind" in options and "rbind" not in options


def _is_pinned(request: RunRequest, mount: MountEntry) -> bool:
    """Tell whether the source is, or will be, a copy in the bundle, with what is below it or without."""
    return request.view_only or _within(mount.get("source", ""), os.path.abspath(request.state))


def _runtime_name(request: RunRequest) -> str:
    """Return which OCI runtime it will be, empty where there is none, or not the one that was asked for."""
    from prun_linux.oci import find_binary

    try:
        return os.path.basename(os.path.realpath(find_binary(request.options.get("binary", ""))))
    except PrunError:
        return ""


def _hides_proc(path: str, mount: MountEntry) -> bool:
    """Tell whether a mount would replace what the process's confinement relies on: runc's own rule."""
    if path == "/proc":
        return mount.get("type") != "proc" and not _within(mount.get("source", ""), "/proc")
    return _within(path, "/proc") and path not in _PROC_FILES


def _mount_source(request: RunRequest, pointer: str, mount: MountEntry) -> Iterator[Problem]:
    source, options = mount.get("source", ""), mount.get("options", [])
    yield from _unprintable(f"{pointer}/source", source)
    if mount.get("type") != "bind" and "bind" not in options and "rbind" not in options:
        return
    if re.match("/proc/(self|thread-self)/", source):
        yield Problem(f"{pointer}/source", f"{source!r} is the OCI runtime's, when it mounts it", "/proc/PID/...")
    if not source.startswith("/"):
        yield Problem(f"{pointer}/source", f"{source!r} is not an absolute path")
    elif "\0" not in source and not os.path.exists(source) and not _will_be_made(request, source):
        yield Problem(f"{pointer}/source", f"{source!r} does not exist on this machine")


def _will_be_made(request: RunRequest, source: str) -> bool:
    """Tell whether a run would make it: nothing is made to only show a spec."""
    if not request.view_only:
        return False
    asked = any(mount.source == source and mount.create for mount in request.volumes)
    places = [os.path.abspath(directory) for directory in (request.root, request.state) if directory]
    return asked or any(_within(source, directory) for directory in places)


def _unprintable(pointer: str, path: str) -> Iterator[Problem]:
    if "\0" in path or "\n" in path:
        yield Problem(pointer, f"{path!r} contains a NUL or a line break")


def _within(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")
