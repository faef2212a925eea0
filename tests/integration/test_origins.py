"""Whatever an option of ``prun run`` changes of the spec, the explanation names that option there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from prun.cli.run import asked
from prun.explaining import recorded
from prun.pipeline import explain, plan, viewed
from prun.spec.provenance import value_at

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS = [
    "--annotation a=b", "--cap-add NET_ADMIN", "--cap-add NET_ADMIN -u 7", "--cap-drop CHOWN",
    "--cgroup-parent /mine", "--cgroupns host", "--cpu-period 50000", "--cpu-quota 50000", "-c 512", "--cpus 0.5",
    "--cpuset-cpus 0", "--cpuset-mems 0", "--device /dev/null:/dev/nil", "--device-cgroup-rule 'c_1:3_rwm'",
    "--entrypoint /bin/x", "-e A=b", "--env-file FILE", "--env-host", "--group-add 7", "-h web", "--init", "--ipc host",
    "--ipc shareable", "-m 64m", "-m 64m --memory-swap 128m", "--memory-reservation 64m",
    "--mount type=tmpfs,target=/x",
    "--mount type=bind,source=/etc,target=/x", "--network host", "--oom-score-adj 5", "--patch /x=1", "--pid host",
    "--pids-limit 9", "--privileged", "--read-only", "--security-opt seccomp=unconfined",
    "--security-opt no-new-privileges=false", "--security-opt mask=/x", "--security-opt unmask=/proc/kcore",
    "--security-opt systempaths=unconfined", "--security-opt proc-opts=hidepid=2", "--shm-size 1m",
    "--sysctl net.ipv4.ip_forward=1", "--tmpfs /x", "-t", "--ulimit nofile=20", "--umask 077",
    "--uidmap 0:100000:65536", "--unsetenv PATH", "-u 7", "--userns auto", "--uts host", "-v /etc:/x", "-v named:/x",
    "-w /x",
]  # fmt: skip


# What is there no more has no place to be asked about.
REMOVING = ("--security-opt seccomp=unconfined", "--unsetenv PATH")


def changed(now: Any, before: Any, at: str = "") -> list[str]:
    """Return where two specs differ, as a reader of the explanation would ask."""
    if isinstance(now, dict) and isinstance(before, dict):
        keys = [key for key in now if now[key] != before.get(key)]
        return [each for key in keys for each in changed(now[key], before.get(key), f"{at}/{key}")]
    if at in ("/mounts", "/process/env"):
        return [f"{at}/{number}" for number, each in enumerate(now) if each not in (before or [])]
    return [at]


@pytest.mark.parametrize("words", OPTIONS)
def test_what_an_option_changes_is_said_to_be_its(words: str, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("F=1\n")
    given = [word.replace("_", " ").strip("'") if "rwm" in word else word for word in words.split()]
    given = [str(tmp_path / "env") if word == "FILE" else word for word in given]
    settings = {"root": str(tmp_path / "root"), "state": str(tmp_path / "state"), "plugins": "none"}
    runner, request = asked("spec", ["--id", "c", *given, "scratch", "true"], settings)
    _, without = asked("spec", ["--id", "c", "scratch", "true"], settings)
    before = plan(without, runner.hooks)
    with viewed(request, runner.hooks) as (request, image, rootfs):
        quick = recorded(request, image, rootfs, runner.hooks, every_line=False)
    names = {f"--{key.replace('_', '-')}" for key in request.origins} - {"--id"}
    for explanation in (explain(request, runner.hooks), quick):
        places = changed(explanation.spec, before)
        assert places or words in REMOVING
        for place in places:
            said = {origin.words for change in explanation.chain(place) for origin in change.origins}
            assert said & names, (place, value_at(explanation.spec, place), explanation.chain(place)[-1])
