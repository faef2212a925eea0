from __future__ import annotations

import resource
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from prun.types import RunRequest
from prun_linux import check
from prun_linux.check import check_spec

if TYPE_CHECKING:
    from collections.abc import Callable

    from prun.spec.document import Spec

REQUEST = RunRequest("c1")


def good() -> Spec:
    return {
        "process": {"args": ["sh"], "cwd": "/", "env": ["A=1", "B="], "rlimits": []},
        "hostname": "c1",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts"},
            {"destination": "/etc/hosts", "type": "bind", "source": "/etc/hosts", "options": ["rbind"]},
        ],
        "linux": {"namespaces": [{"type": "uts"}]},
    }


def problems(change: Callable[[Any], object], request: RunRequest = REQUEST) -> list[str]:
    spec: Any = good()
    change(spec)
    return [str(problem) for problem in check_spec(request, spec)]


def test_a_good_spec_has_no_problem() -> None:
    assert problems(lambda spec: None) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda s: s["process"].update(args=[""]), "/process/args/0: "),
        (lambda s: s["process"].update(cwd="tmp"), "/process/cwd: 'tmp' is not an absolute path"),
        (lambda s: s["process"].pop("cwd"), "/process/cwd: '' is not an absolute path"),
        (lambda s: s["process"].update(cwd="/a\nb"), "/process/cwd: '/a\\nb' contains"),
        (lambda s: s["process"].update(env=["A=1", "A=2"]), "/process/env/1: 'A' is set twice"),
        (lambda s: s["process"].update(env=["SECRET"]), "/process/env/0: 'SECRET' is not KEY=value"),
        (lambda s: s["process"].update(env=["=x"]), "/process/env/0: '=x' is not KEY=value"),
        (lambda s: s["process"].update(capabilities={"bounding": ["CAP_FLY"]}), "'CAP_FLY' is not known"),
        (lambda s: s["process"].update(terminal=True), "/process/terminal: differs"),
        (lambda s: s["linux"].update(namespaces=[]), "/hostname: would rename the host"),
        (lambda s: s["mounts"][0].update(destination="proc"), "/mounts/0/destination: 'proc' is not an absolute"),
        (lambda s: s["mounts"][0].update(destination="/."), "/mounts/0/destination: a mount over the root"),
        (lambda s: s["mounts"].reverse(), "/dev hides /dev/pts, which is mounted before it"),
        (lambda s: s["mounts"][3].update(source="etc"), "/mounts/3/source: 'etc' is not an absolute path"),
        (lambda s: s["mounts"][3].update(source="/no/such"), "/mounts/3/source: '/no/such' does not exist"),
        (lambda s: s["mounts"][3].update(type="none", source="/no/such"), "'/no/such' does not exist"),
        (lambda s: s["mounts"][3].update(source="/a\0"), "contains a NUL"),
    ],
)
def test_a_mistake_is_found_and_named(change: Callable[[Any], object], expected: str) -> None:
    found = problems(change)
    assert len(found) == 1
    assert expected in found[0]


@pytest.mark.parametrize(
    "cwd", ["/proc", "/proc/self/fd/7", "//proc/self/fd/7", "/tmp/../proc/1", "/dev/fd/3", "/./dev//fd", "/proc/"]
)
def test_a_working_directory_that_may_lead_out_is_refused(cwd: str) -> None:
    assert "may lead out" in problems(lambda spec: spec["process"].update(cwd=cwd))[0]


@pytest.mark.parametrize("cwd", ["/procs", "/dev/fds", "/home/proc"])
def test_a_working_directory_that_only_looks_like_it_is_not(cwd: str) -> None:
    assert problems(lambda spec: spec["process"].update(cwd=cwd)) == []


def limit(name: str, soft: int, hard: int) -> Callable[[Any], object]:
    return lambda spec: spec["process"].update(rlimits=[{"type": name, "soft": soft, "hard": hard}])


def test_limits_that_make_no_sense_are_refused() -> None:
    assert "soft 2 is over hard 1" in problems(limit("RLIMIT_NOFILE", 2, 1))[0]
    assert "'RLIMIT_X' is not known" in problems(limit("RLIMIT_X", 1, 1))[0]


def test_a_limit_over_our_own_needs_the_privilege_to_raise_it(monkeypatch: pytest.MonkeyPatch) -> None:
    over = resource.getrlimit(resource.RLIMIT_NOFILE)[1] + 1
    monkeypatch.setattr(check, "may_raise_limits", lambda: False)
    assert f"hard {over} is over this process's own {over - 1}" in problems(limit("RLIMIT_NOFILE", 64, over))[0]
    monkeypatch.setattr(check, "may_raise_limits", lambda: True)
    assert problems(limit("RLIMIT_NOFILE", 64, over)) == []


def test_whether_limits_may_be_raised_is_as_the_kernel_sees_it() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard + 1))
    except ValueError:  # what Python makes of EPERM
        assert not check.may_raise_limits()
    else:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert check.may_raise_limits()


def test_a_default_is_lowered_to_what_this_process_may_give(monkeypatch: pytest.MonkeyPatch) -> None:
    own = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    monkeypatch.setattr(check, "may_raise_limits", lambda: False)
    assert check.clamped({"RLIMIT_NOFILE": (1, own + 1)}) == {"RLIMIT_NOFILE": (1, own)}
    assert check.clamped({"RLIMIT_NOFILE": (own + 1, own + 1)}) == {"RLIMIT_NOFILE": (own, own)}
    monkeypatch.setattr(check, "may_raise_limits", lambda: True)
    assert check.clamped({"RLIMIT_NOFILE": (1, own + 1)}) == {"RLIMIT_NOFILE": (1, own + 1)}


def test_nobody_may_open_more_files_than_the_machine_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    most = int(Path("/proc/sys/fs/nr_open").read_text())
    monkeypatch.setattr(check, "may_raise_limits", lambda: True)
    assert "is over this machine's fs.nr_open" in problems(limit("RLIMIT_NOFILE", 64, most + 1))[0]
    assert problems(limit("RLIMIT_NOFILE", 64, most)) == []


def test_an_oom_score_under_our_own_needs_the_privilege_to_lower_it(monkeypatch: pytest.MonkeyPatch) -> None:
    own = int(Path("/proc/self/oom_score_adj").read_text())
    monkeypatch.setattr(check, "may_raise_limits", lambda: False)
    assert "is under this process's own" in problems(lambda s: s["process"].update(oomScoreAdj=own - 1))[0]
    assert problems(lambda s: s["process"].update(oomScoreAdj=own)) == []
    monkeypatch.setattr(check, "may_raise_limits", lambda: True)
    assert problems(lambda s: s["process"].update(oomScoreAdj=own - 1)) == []


def test_all_problems_are_reported_together() -> None:
    def change(spec: Any) -> None:
        spec["process"].update(args=[""], cwd="x")
        spec["linux"].clear()

    assert len(problems(change)) == 3


def limited(kind: str, soft: int, *, runtime: str, seccomp: bool, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(check, "_runtime_name", lambda request: runtime)
    limit = {"type": f"RLIMIT_{kind}", "soft": soft, "hard": soft}
    return problems(
        lambda spec: (spec["process"].update(rlimits=[limit]), spec["linux"].update({"seccomp": {}} if seccomp else {}))
    )


@pytest.mark.parametrize(
    ("kind", "least", "runtime", "seccomp"),
    [
        ("NOFILE", 11, "runc", True),
        ("NOFILE", 8, "runc", False),
        ("NOFILE", 32, "crun", False),
        ("CPU", 1, "runc", False),
        ("FSIZE", 1 << 16, "crun", True),
        ("FSIZE", 0, "crun", False),
        ("FSIZE", 0, "runc", True),
        ("DATA", 64 << 20, "runc", True),
        ("DATA", 0, "runc", False),
    ],
)
def test_a_limit_that_the_oci_runtime_dies_of_is_refused(
    kind: str, least: int, runtime: str, seccomp: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert limited(kind, least, runtime=runtime, seccomp=seccomp, monkeypatch=monkeypatch) == []
    if least:
        found = limited(kind, least - 1, runtime=runtime, seccomp=seccomp, monkeypatch=monkeypatch)
        assert len(found) == 1
        assert f"--ulimit {kind.lower()}={least - 1}" in found[0]


def bind(source: Path | str, destination: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": "bind", "source": str(source), "options": ["rbind", *options]}


def test_a_mount_in_what_is_read_only_or_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "file").write_text("")
    outer = bind(tmp_path, "/a", "ro")
    assert problems(lambda s: s["mounts"].extend([outer, bind(tmp_path, "/a/there")])) == []
    assert "read-only" in problems(lambda s: s["mounts"].extend([outer, bind(tmp_path, "/a/new")]))[0]
    assert problems(lambda s: s["mounts"].extend([bind(tmp_path, "/a"), bind(tmp_path, "/a/new2")])) == []
    inner = [bind(tmp_path / "file", "/a"), bind(tmp_path, "/a/b")]
    assert "is a file" in problems(lambda s: s["mounts"].extend(inner))[0]
    sysfs = {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]}
    assert "read-only" in problems(lambda s: s["mounts"].extend([sysfs, bind(tmp_path, "/sys/nothing")]))[0]
    assert problems(lambda s: s["mounts"].extend([sysfs, bind(tmp_path, "/sys/fs")])) == []


def test_what_the_oci_runtimes_need_of_dev_stays(tmp_path: Path) -> None:
    for mount in (bind(tmp_path, "/dev/null"), bind("/dev/null", "/dev/ptmx")):
        assert "for themselves" in problems(lambda s, mount=mount: s["mounts"].append(mount))[0]
    assert "/dev/null" in problems(lambda s: s["mounts"][1].update(options=["nodev"]))[0]
    assert "/dev/null" in problems(lambda s: s["mounts"].__setitem__(1, bind(tmp_path, "/dev")))[0]
    assert problems(lambda s: s["mounts"].__setitem__(1, bind("/dev", "/dev"))) == []


def test_a_source_that_is_the_oci_runtimes_own_is_refused() -> None:
    assert "OCI runtime's" in problems(lambda s: s["mounts"].append(bind("/proc/self/fd", "/a")))[0]


def test_a_tmpfs_of_who_has_no_id_in_the_user_namespace_is_refused() -> None:
    maps = {name: [{"containerID": 0, "hostID": 100000, "size": 10}] for name in ("uidMappings", "gidMappings")}
    tmpfs = {"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": ["uid=9", "gid=10"]}
    assert problems(lambda s: s["mounts"].append(tmpfs)) == []
    found = problems(lambda s: (s["mounts"].append(tmpfs), s["linux"].update(maps)))
    assert len(found) == 1
    assert "gid=10" in found[0]
