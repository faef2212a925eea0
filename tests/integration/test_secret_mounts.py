"""Secrets: kept in the store, seen by their container only."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from command import Prun

VALUE = "hunter2-in-the-store"


@pytest.fixture
def token(prun: Prun) -> Iterator[str]:
    assert prun("secret", "create", "token", "-", stdin=VALUE.encode()).returncode == 0
    yield "token"
    assert prun("secret", "rm", "token").returncode == 0


def test_a_secret_is_a_file_that_only_its_user_reads(prun: Prun, token: str) -> None:
    script = "stat -c '%n %a %u:%g' /run/secrets/* /etc/key; cat /run/secrets/token; echo x >/run/secrets/token"
    done = prun("run", "--rm", "--secret", token, "--secret", f"{token},target=mine,uid=1000,gid=1001,mode=0400",
                "--secret", f"source={token},target=/etc/key,mode=0440", "busybox", "sh", "-c", script)  # fmt: skip
    assert done.stdout.splitlines() == [
        "/run/secrets/mine 400 1000:1001", "/run/secrets/token 444 0:0", "/etc/key 440 0:0", VALUE,
    ]  # fmt: skip
    assert "Read-only" in done.stderr
    words = ("--secret", f"{token},uid=1000,mode=0400", "busybox", "cat", "/run/secrets/token")
    assert prun("run", "--rm", "-u", "1000", *words).stdout == VALUE
    assert "Permission denied" in prun("run", "--rm", "-u", "1001", *words).stderr


def test_a_secret_in_the_environment_is_in_no_record(prun: Prun, token: str) -> None:
    words = ("--secret", f"{token},type=env,target=TOKEN", "busybox", "sh", "-c", "echo $TOKEN")
    assert prun("run", "--name", "kept", "--log-driver", "none", *words).stdout == f"{VALUE}\n"
    assert VALUE not in prun("inspect", "kept").stdout + prun("ps", "-a", "--no-trunc").stdout
    assert "TOKEN=*******" in prun("spec", *words).stdout
    assert VALUE not in prun("spec", *words).stdout
    found = subprocess.run(["grep", "-rlF", VALUE, str(prun.root), str(prun.state)], capture_output=True, check=False)
    assert found.stdout == b""  # the store's own file has it in base64


@pytest.mark.parametrize("command", ["true", "/no/such/command"])
def test_no_trace_of_a_run_tells_a_secret(prun: Prun, token: str, command: str) -> None:
    """security.md, section 3: what --debug and PRUN_TRACE_HOOKS print, and what fails, has no value in it."""
    words = ("--secret", token, "--secret", f"{token},type=env,target=TOKEN", "busybox", command)
    done = prun("--debug", "run", "--rm", *words, PRUN_TRACE_HOOKS="1")
    assert "prun_create_task" in done.stderr
    assert VALUE not in done.stdout + done.stderr


def test_nothing_of_it_is_left_in_the_image_or_the_writable_layer(prun: Prun, token: str) -> None:
    assert prun("run", "--name", "kept", "--secret", token, "busybox", "true").returncode == 0
    active = prun.root / "snapshots" / "active"
    found = subprocess.run(["find", str(active), "-name", "*token*"], capture_output=True, check=True)
    assert found.stdout == b""


def test_a_container_keeps_a_secret_that_is_removed_meanwhile(prun: Prun) -> None:
    assert prun("secret", "create", "short", "-", stdin=b"one").returncode == 0
    process = prun.popen("run", "--rm", "--secret", "short", "busybox", "sh", "-c",
                         "echo ready; sleep 1; cat /run/secrets/short")  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    assert prun("secret", "rm", "short").returncode == 0
    out, _ = process.communicate(timeout=20)
    assert out == b"one"


def test_a_secret_that_there_is_not_is_refused_before_anything_is_made(prun: Prun) -> None:
    for word in ("nope", "nope,type=env"):
        done = prun("run", "--secret", word, "busybox", "true")
        assert (done.returncode, done.stdout) == (125, "")
        assert "no such secret: nope" in done.stderr
        assert prun("ps", "-aq").stdout == ""


def test_a_runtime_that_has_no_secrets_refuses_them(prun: Prun, token: str) -> None:
    done = prun("run", "--runtime", "windows", "--secret", token, "busybox", "true")
    assert done.returncode == 125
