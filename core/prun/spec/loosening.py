"""What one spec lets a container do that another does not: said of patches and hooks of one run.

Only what can be seen in the document; a new argument of the command may be just as dangerous and is not named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_PERMISSIVE = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE", "SCMP_ACT_NOTIFY")
_HARDENING = ("ro", "rro", "nosuid", "nodev", "noexec")
_LIMITS = ("memory/limit", "memory/swap", "pids/limit", "cpu/quota")
_SHARED = ("shared", "rshared")


def loosened(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return what ``after`` lets the container do that ``before`` did not, each with the place in the spec."""
    old, new = _linux(before), _linux(after)
    return [
        *_process(before.get("process") or {}, after.get("process") or {}),
        *_root(before.get("root") or {}, after.get("root") or {}),
        *_seccomp(old.get("seccomp"), new.get("seccomp")),
        *_paths(old, new),
        *_namespaces(old, new),
        *_mounts(before.get("mounts") or [], after.get("mounts") or []),
        *_devices(old, new),
        *_limits(old.get("resources") or {}, new.get("resources") or {}),
        *_hooks(before.get("hooks") or {}, after.get("hooks") or {}),
    ]


def _linux(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    found = spec.get("linux")
    return found if isinstance(found, dict) else {}


def _process(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    had, has = (side.get("capabilities") or {} for side in (old, new))
    for kind in ("bounding", "effective", "permitted", "inheritable", "ambient"):
        if added := [name for name in has.get(kind, ()) if name not in had.get(kind, ())]:
            yield f"adds {', '.join(map(str, added))} to /process/capabilities/{kind}"
    if old.get("noNewPrivileges") and not new.get("noNewPrivileges"):
        yield "lets the process gain privileges (/process/noNewPrivileges)"
    for kind, name in (("apparmorProfile", "AppArmor profile"), ("selinuxLabel", "SELinux label")):
        if old.get(kind) and new.get(kind) != old[kind]:
            yield f"changes the {name} (/process/{kind})"
    user, other = old.get("user") or {}, new.get("user") or {}
    for key in ("uid", "gid"):
        if user.get(key) and not other.get(key):
            yield f"makes the process root's (/process/user/{key})"
    if 0 in other.get("additionalGids", ()) and 0 not in (user.get("gid", 0), *user.get("additionalGids", ())):
        yield "adds root's group (/process/user/additionalGids)"


def _root(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    if old.get("readonly") and not new.get("readonly"):
        yield "makes the root file system writable (/root/readonly)"
    if new.get("path") != old.get("path"):
        yield f"takes {new.get('path')} as the root file system (/root/path)"


def _seccomp(old: Any, new: Any) -> Iterator[str]:
    if not isinstance(old, dict) or not old:
        return
    if not isinstance(new, dict) or not new:
        yield "lets every system call through (/linux/seccomp)"
        return
    if new.get("defaultAction") not in _PERMISSIVE:
        added = sorted(_names(new, denied=False) - _names(old, denied=False))
    elif old.get("defaultAction") in _PERMISSIVE:
        added = sorted(_names(old, denied=True) - _names(new, denied=True))
    else:
        added = []
        yield "lets system calls through that no rule names (/linux/seccomp/defaultAction)"
    if added:
        named = f"{', '.join(added[:8])}{', ...' if len(added) > 8 else ''}"
        yield f"lets more system calls through: {named} (/linux/seccomp)"
    if lost := set(map(str, _list(old, "architectures"))) ^ set(map(str, _list(new, "architectures"))):
        yield f"filters other architectures: {', '.join(sorted(lost))} (/linux/seccomp/architectures)"


def _names(seccomp: Mapping[str, Any], *, denied: bool) -> set[str]:
    """Return the system calls that rules let through, or deny; with its conditions, where a rule has some."""
    return {
        f"{name} {rule['args']}" if rule.get("args") else str(name)
        for rule in _list(seccomp, "syscalls")
        if isinstance(rule, dict) and (rule.get("action") in _PERMISSIVE) is not denied
        for name in _list(rule, "names")
    }


def _list(holder: Mapping[str, Any], key: str) -> list[Any]:
    """Return an array of what no shape is checked of, empty where it is none."""
    found = holder.get(key)
    return found if isinstance(found, list) else []


def _paths(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for kind, words in (("maskedPaths", "shows"), ("readonlyPaths", "makes writable")):
        masked = new.get("maskedPaths") or []
        if lost := [path for path in old.get(kind) or () if path not in (new.get(kind) or ()) and path not in masked]:
            yield f"{words} {', '.join(map(str, lost))} (/linux/{kind})"
    if new.get("rootfsPropagation") in _SHARED and old.get("rootfsPropagation") not in _SHARED:
        yield "lets mounts reach the host (/linux/rootfsPropagation)"


def _namespaces(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    had, has = ({each.get("type"): each.get("path") for each in side.get("namespaces") or ()} for side in (old, new))
    for kind, path in had.items():
        if kind not in has:
            yield f"shares the host's {kind} namespace (/linux/namespaces)"
        elif has[kind] and has[kind] != path:
            yield f"joins the {kind} namespace {has[kind]} (/linux/namespaces)"
    for kind in ("uidMappings", "gidMappings"):
        if old.get(kind) and new.get(kind) != old[kind]:
            yield f"maps other ids of the host (/linux/{kind})"
    if old.get("cgroupsPath") and new.get("cgroupsPath") != old["cgroupsPath"]:
        yield f"puts it into the cgroup {new.get('cgroupsPath')} (/linux/cgroupsPath)"


def _mounts(old: Iterable[Mapping[str, Any]], new: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    before = {each.get("destination"): each for each in old}
    for each in new:
        at, options = each.get("destination"), each.get("options") or ()
        had = before.get(at)
        same = had is not None and (had.get("source"), had.get("type")) == (each.get("source"), each.get("type"))
        if not same and (each.get("type") == "bind" or {"bind", "rbind"}.intersection(options)):
            yield f"shows the host's {each.get('source')} at {at} (/mounts)"
        elif not same and each.get("type") not in ("tmpfs", "mqueue", "devpts", "proc", "bind"):
            yield f"mounts {each.get('type')} at {at} (/mounts)"
        if had is not None:
            if lost := [word for word in _HARDENING if word in (had.get("options") or ()) and word not in options]:
                yield f"drops {', '.join(lost)} of the mount at {at} (/mounts)"
            if not {*_SHARED}.isdisjoint(options) and {*_SHARED}.isdisjoint(had.get("options") or ()):
                yield f"lets mounts below {at} reach the host (/mounts)"


def _devices(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    had = [each.get("path") for each in old.get("devices") or ()]
    if added := [str(each.get("path")) for each in new.get("devices") or () if each.get("path") not in had]:
        yield f"adds the device {', '.join(added)} (/linux/devices)"
    rules, others = ((side.get("resources") or {}).get("devices") or [] for side in (old, new))
    if any(rule.get("allow") and rule not in rules for rule in others):
        yield "allows more devices (/linux/resources/devices)"
    elif any(not rule.get("allow") and rule not in others for rule in rules):
        yield "denies fewer devices (/linux/resources/devices)"


def _limits(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for name in _LIMITS:
        kind, key = name.split("/")
        had, has = ((side.get(kind) or {}).get(key) for side in (old, new))
        if not isinstance(had, int) or had <= 0:
            continue
        if not isinstance(has, int) or has <= 0 or has > had:
            yield f"lifts a limit (/linux/resources/{name})"


def _hooks(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for kind, hooks in new.items():
        if added := [str(hook.get("path")) for hook in hooks if hook not in (old.get(kind) or ())]:
            yield f"runs {', '.join(added)} on the host (/hooks/{kind})"
