"""What podman's bats suite expects of the life of containers: the ids are those of podman-expectations.md."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from running import refusal

if TYPE_CHECKING:
    from pathlib import Path

    from command import Prun

TRAPS = "trap 'echo caught; exit' TERM; echo ready; while :; do sleep 0.05; done"


def detached(prun: Prun, *words: str) -> str:
    done = prun("run", "-d", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def shown(prun: Prun, name: str, form: str = "{{.State.Status}} {{.State.ExitCode}}") -> str:
    return prun("inspect", "--format", form, name).stdout.strip()


def made(prun: Prun, name: str, *words: str) -> str:
    done = prun("create", "--name", name, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# 045-start


def test_045_1_start_all_starts_what_does_not_run_and_prints_the_ids(prun: Prun) -> None:
    ended = [detached(prun, "busybox", "true"), detached(prun, "--restart", "no", "busybox", "false")]
    ended.append(detached(prun, "--restart", "on-failure", "busybox", "true"))
    always = detached(prun, "--restart", "always", "busybox", "sleep", "100")
    assert prun("wait", *ended).stdout == "0\n1\n0\n"
    assert set(prun("start", "--all").stdout.split()) == set(ended)
    assert prun("wait", *ended).stdout == "0\n1\n0\n"
    assert prun("stop", "-t", "0", always).returncode == 0


def test_045_2_start_all_and_a_name_contradict(prun: Prun) -> None:
    assert "do not go together" in refusal(prun("start", "--all", "12333"))


def test_045_3_start_filter_alone_with_names_with_all_and_with_nonsense(prun: Prun) -> None:
    ids = {name: made(prun, name, "--restart", policy, "busybox", "true")
           for name, policy in (("c1", "unless-stopped"), ("c2", "on-failure"), ("c3", "unless-stopped"))}  # fmt: skip
    assert set(prun("start", "--filter", "restart-policy=unless-stopped").stdout.split()) == {ids["c1"], ids["c3"]}
    assert prun("start", "--filter", "restart-policy=on-failure", "c2", "c3").stdout == "c2\n"
    assert prun("start", "--filter", "restart-policy=always", "--all").stdout == ""
    assert "fakepolicy" in refusal(prun("start", "--filter", "restart-policy=fakepolicy", "c2"))
    assert prun("wait", "c2").stdout == "0\n"
    failed = detached(prun, "busybox", "false")
    prun("wait", failed)
    assert prun("start", "--all", "--filter", "exited=1").stdout.split() == [failed]


def test_045_6_start_attached_of_one_made_with_rm_removes_it(prun: Prun) -> None:
    container = made(prun, "once", "--rm", "busybox", "echo", "message")
    done = prun("start", "-a", container)
    assert (done.returncode, done.stdout) == (0, "message\n")
    assert prun("container", "exists", container).returncode == 1


# 050-stop


def test_050_1_what_ignores_the_signal_is_killed_after_its_time(prun: Prun) -> None:
    container = detached(prun, "busybox", "sleep", "60")
    before = time.monotonic()
    assert prun("stop", "-t", "2", container).returncode == 0
    assert 2 <= time.monotonic() - before < 15
    assert shown(prun, container) == "exited 137"


def test_050_2_stop_all_leaves_what_does_not_run(prun: Prun) -> None:
    ids = [detached(prun, "--name", name, "busybox", "sleep", "60") for name in ("c1", "c2", "c3")]
    made(prun, "c4", "busybox", "sleep", "60")
    assert set(prun("stop", "-a", "-t", "1").stdout.split()) == set(ids)
    assert prun("ps", "-q").stdout == ""
    states = prun("ps", "-a", "--sort", "names", "--format", "{{.Names}}--{{.State}}").stdout.split()
    assert states == ["c1--exited", "c2--exited", "c3--exited", "c4--created"]


def test_050_4_ignore_and_cidfile(prun: Prun, tmp_path: Path) -> None:
    assert "no such container: missing" in refusal(prun("stop", "missing"))
    assert prun("stop", "--ignore", "missing").stdout == ""
    assert "No such file or directory" in refusal(prun("stop", "--cidfile", str(tmp_path / "none")))
    running = detached(prun, "--cidfile", str(tmp_path / "cid"), "busybox", "sleep", "60")
    done = prun("stop", "--cidfile", str(tmp_path / "none"), "--ignore")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert shown(prun, running).startswith("running")
    for command in ("pause", "unpause"):
        assert prun(command, "--cidfile", str(tmp_path / "cid")).stdout == f"{running}\n"
    assert prun("stop", "-t", "0", "--cidfile", str(tmp_path / "cid")).stdout == f"{running}\n"
    assert prun("rm", "--cidfile", str(tmp_path / "cid")).stdout == f"{running}\n"
    assert prun("rm", "--cidfile", str(tmp_path / "none"), "--ignore").returncode == 0


@pytest.mark.parametrize("option", [[], ["--time=5"], ["--timeout=5"]])
def test_050_5_a_signal_that_is_trapped_ends_it_at_once(prun: Prun, option: list[str]) -> None:
    container = detached(prun, "busybox", "sh", "-c", TRAPS)
    while "ready" not in prun("logs", container).stdout:
        time.sleep(0.05)
    before = time.monotonic()
    assert prun("stop", *option, container).returncode == 0
    assert time.monotonic() - before < 4
    assert prun("logs", container).stdout == "ready\ncaught\n"
    assert shown(prun, container) == "exited 0"


def test_050_6_while_a_stop_waits_the_others_do_not(prun: Prun) -> None:
    container = detached(
        prun, "--name", "slow", "busybox", "sh", "-c", "trap 'echo no' TERM; while :; do sleep 0.1; done"
    )
    process = prun.popen("stop", "-t", "30", "slow")
    while "no" not in prun("logs", container).stdout:
        time.sleep(0.05)
    before = time.monotonic()
    assert "slow" in prun("ps").stdout
    assert prun("kill", "slow").returncode == 0
    assert prun("wait", "slow").stdout == "137\n"
    assert time.monotonic() - before < 10
    assert process.wait(10) == 0
    process.communicate(timeout=10)


# 055-rm


def test_055_2_what_runs_is_removed_with_force_only(prun: Prun) -> None:
    container = detached(prun, "busybox", "sleep", "60")
    assert "is running" in refusal(prun("rm", container))
    assert prun("rm", "-t", "0", "-f", container).returncode == 0


def test_055_6_a_run_in_the_foreground_that_is_removed_ends_with_137(prun: Prun) -> None:
    process = prun.popen("run", "--name", "front", "busybox", "sleep", "30")
    while "front" not in prun("ps").stdout:
        time.sleep(0.05)
    assert prun("rm", "-f", "front").returncode == 0
    process.communicate(timeout=20)
    assert process.returncode == 137


def test_055_7_force_passes_over_what_is_not_there(prun: Prun) -> None:
    assert "no such container: bogus" in refusal(prun("container", "rm", "bogus"))
    done = prun("container", "rm", "--force", "bogus")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    made(prun, "real", "busybox")
    assert prun("container", "rm", "--force", "bogus", "real").stdout == "real\n"


# 080-pause


def test_080_1_paused_is_shown_and_a_missing_one_is_an_error(prun: Prun) -> None:
    container = detached(prun, "--name", "cold", "busybox", "sleep", "100")
    assert prun("pause", container).returncode == 0
    assert shown(prun, container) == "paused 0"
    assert "(Paused)" in prun("ps").stdout
    assert prun("unpause", "cold").returncode == 0
    assert shown(prun, "cold") == "running 0"
    for command in ("pause", "unpause"):
        assert "no such container: nobody" in refusal(prun(command, "nobody"))


def test_080_2_unpause_all_means_those_that_are_paused(prun: Prun) -> None:
    made(prun, "idle", "busybox")
    container = detached(prun, "busybox", "sleep", "100")
    assert prun("pause", "--all").stdout == f"{container}\n"
    assert prun("unpause", "--all").stdout == f"{container}\n"
    assert "Up" in prun("ps").stdout


def test_080_4_what_is_paused_is_killed_and_stopped_and_removed(prun: Prun) -> None:
    for words in (["kill", "cold"], ["stop", "-t", "0", "cold"], ["rm", "-f", "cold"]):
        detached(prun, "--name", "cold", "busybox", "sleep", "100")
        assert prun("pause", "cold").returncode == 0
        assert prun(*words).returncode == 0
        assert words[0] == "rm" or shown(prun, "cold") == "exited 137"
        assert prun("rm", "-f", "cold").returncode == 0


# 130-kill


def test_130_1_signals_by_number_and_by_name(prun: Prun) -> None:
    numbers = (1, 2, 3, 10, 12, 15, 64)
    traps = "; ".join(f"trap 'echo got: {number}' {number}" for number in numbers)
    container = detached(prun, "busybox", "sh", "-c", f"{traps}; echo ready; while :; do sleep 0.05; done")
    expected = ["ready"]
    while prun("logs", container).stdout.split("\n")[:-1] != expected:
        time.sleep(0.05)
    words = [*map(str, numbers), "-1", "INT", "-INT", "USR1", "SIGUSR2", "-SIGUSR2"]
    for word, number in zip(words, (*numbers, 1, 2, 2, 10, 12, 12), strict=True):
        done = prun("kill", "-s", word, container)
        assert done.returncode == 0, done.stderr
        expected.append(f"got: {number}")
        deadline = time.monotonic() + 10
        while prun("logs", container).stdout.split("\n")[:-1] != expected:
            assert time.monotonic() < deadline, (word, prun("logs", container).stdout)
            time.sleep(0.02)


@pytest.mark.parametrize(
    "word", ["0", "SIGBADSIG", "SIG", "BADSIG", "%%", "''", " ", "-0", "-", "65", "-65", "99999999"]
)
def test_130_2_what_is_no_signal_is_refused_before_anything_else(prun: Prun, word: str) -> None:
    assert "no such container" not in refusal(prun("kill", "-s", word, "nobody"))


def test_130_5_kill_and_stop_at_once_keep_the_exit_code(prun: Prun) -> None:
    detached(prun, "--name", "both", "busybox", "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")
    process = prun.popen("stop", "-t", "1", "both")
    assert prun("kill", "both").returncode == 0
    process.communicate(timeout=30)
    assert prun("wait", "both").stdout == "137\n"


def test_130_6_one_that_never_ran_has_the_exit_code_0(prun: Prun) -> None:
    made(prun, "never", "busybox", "true")
    assert prun("wait", "never").stdout == "0\n"
    assert prun("wait", "--ignore", "nobody").stdout == "-1\n"
    assert "no such container: nobody" in refusal(prun("wait", "nobody"))


def test_130_7_the_stop_signal_sent_by_kill_ends_a_restart_policy(prun: Prun) -> None:
    command = "trap 'exit 42' TERM; echo ready; while :; do sleep 0.05; done"
    detached(prun, "--restart", "always", "--name", "kept", "busybox", "sh", "-c", command)
    while "ready" not in prun("logs", "kept").stdout:
        time.sleep(0.05)
    assert prun("kill", "-s", "TERM", "kept").returncode == 0
    assert prun("wait", "kept").stdout == "42\n"
    time.sleep(0.5)
    assert shown(prun, "kept") == "exited 42"
