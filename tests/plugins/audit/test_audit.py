"""Every container has its lines, whatever becomes of it; without a line there is no process."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

import prun_audit
import prun_policy
from prun import hookimpl
from prun.errors import InvalidArgument, PermissionDenied, Unavailable
from prun_audit.log import append

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prun.spec.document import Spec
    from prun.testing import FakeRunner
    from prun.types import Problem, Task


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
def audited(prun_fake: FakeRunner, log: Path) -> FakeRunner:
    return prun_fake.with_plugins(prun_audit.prun_configure({"file": str(log)}))


def lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_a_run_has_a_line_at_its_beginning_and_one_at_its_end(audited: FakeRunner, log: Path) -> None:
    result = audited.run("scratch", ["exit", "3"], name="n")
    create, end = lines(log)
    assert {key: create[key] for key in ("event", "id", "name", "runtime", "image", "argv", "uid", "pid")} == {
        "event": "create", "id": result.id, "name": "n", "runtime": "fake", "image": "scratch", "argv": ["exit", "3"],
        "uid": os.getuid(), "pid": os.getpid(),
    }  # fmt: skip
    assert create["time"] < end["time"]
    assert create["time"].endswith("Z")
    assert (end["event"], end["id"], end["exit_status"]) == ("exit", result.id, 3)
    assert log.stat().st_mode & 0o777 == 0o600


def test_the_hash_is_that_of_the_bundles_config(prun_fake: FakeRunner, log: Path) -> None:
    class Looks:
        @hookimpl
        def prun_create_task(self, bundle: str) -> Task | None:
            with open(f"{bundle}/config.json", "rb") as file:
                self.found = hashlib.sha256(file.read()).hexdigest()
            return None

    looks = Looks()
    prun_fake.with_plugins(looks, prun_audit.prun_configure({"file": str(log)})).run("scratch", ["true"])
    assert lines(log)[0]["spec_sha256"] == looks.found


def test_what_a_policy_refuses_has_a_line(prun_fake: FakeRunner, log: Path, tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    text = '[[rule]]\nname = "a"\nrequire = "readonly-rootfs"\n[[rule]]\nname = "b"\ndeny = "privileged"\n'
    file.write_text(text)
    policy, audit = prun_policy.prun_configure({"file": str(file)}), prun_audit.prun_configure({"file": str(log)})
    runner = prun_fake.with_plugins(policy, audit)
    with pytest.raises(InvalidArgument):
        runner.run("scratch", ["true"])
    with pytest.raises(PermissionDenied):
        runner.run("scratch", ["true"], privileged=True)
    early, late = lines(log)[1], lines(log)[0]
    assert (late["event"], early["event"]) == ("refused", "refused")
    assert "rule 'a'" in late["reasons"][0]
    assert "rule 'b'" in early["reasons"][0]
    assert early["privileged"] is True


def test_it_stands_around_the_policy_where_both_are_loaded_by_name(
    prun_fake: FakeRunner, log: Path, tmp_path: Path
) -> None:
    file, config = tmp_path / "policy.toml", tmp_path / "prun.toml"
    file.write_text('[[rule]]\nname = "a"\ndeny = "runtime"\nvalues = ["fake"]\n')
    config.write_text(f'[plugins.policy]\nfile = "{file}"\n[plugins.audit]\nfile = "{log}"\n')
    words = ("--config", str(config), "--plugins", "policy,audit", "run", "--rm", "scratch", "true")
    assert "rule 'a' of" in prun_fake.command(*words, code=125).stderr
    assert [line["event"] for line in lines(log)] == ["refused"]


def test_a_task_that_cannot_be_created_has_a_line(audited: FakeRunner, log: Path) -> None:
    with pytest.raises(Unavailable):
        audited.run("scratch", ["true"], opt={"fail": "create:no space left"})
    assert [line["event"] for line in lines(log)] == ["create", "failed"]
    assert lines(log)[1]["reasons"] == ["no space left"]


@pytest.mark.parametrize("kind", ["directory", "fifo", "link", "missing", "open to others", "full"])
def test_without_a_line_there_is_no_process(prun_fake: FakeRunner, tmp_path: Path, kind: str) -> None:
    log = tmp_path / "log"
    if kind == "directory":
        log.mkdir()
    elif kind == "fifo":
        os.mkfifo(log)
    elif kind == "link":
        log.symlink_to(tmp_path / "elsewhere")
    elif kind == "missing":
        log = tmp_path / "no" / "log"
    elif kind == "open to others":
        log.touch()
        log.chmod(0o622)
    else:
        log = "/dev/full"  # type: ignore[assignment]
    seen = Seen()
    runner = prun_fake.with_plugins(seen, prun_audit.prun_configure({"file": str(log)}))
    with pytest.raises(Unavailable, match="audit log"):
        runner.run("scratch", ["true"])
    assert not seen.created
    assert os.listdir(f"{runner.state}/bundles") == []
    assert not (tmp_path / "elsewhere").exists()


class Seen:
    created = False

    @hookimpl
    def prun_create_task(self) -> Task | None:
        self.created = True
        return None


def test_a_log_may_be_renamed_at_any_time(audited: FakeRunner, log: Path) -> None:
    audited.run("scratch", ["true"])
    log.rename(log.with_suffix(".1"))
    audited.run("scratch", ["true"])
    assert len(lines(log)) == len(lines(log.with_suffix(".1"))) == 2


def test_lines_of_several_at_once_do_not_mix(log: Path) -> None:
    def write(number: int) -> None:
        for _ in range(20):
            append(str(log), {"number": number, "argv": ["x" * 10_000]})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert sorted(line["number"] for line in lines(log)) == sorted(list(range(8)) * 20)


def test_words_cannot_make_lines_of_their_own(audited: FakeRunner, log: Path) -> None:
    audited.run("scratch", ["echo", 'x\n{"event": "create"}\n\udcff'])
    assert [line["event"] for line in lines(log)] == ["create", "exit"]


@pytest.mark.parametrize("options", [{}, {"file": "relative"}, {"file": 3}])
def test_it_needs_a_file(options: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument, match="not an absolute path"):
        prun_audit.prun_configure(options)


def test_its_hooks_are_made_well(check_plugin: Callable[[object], None]) -> None:
    check_plugin(prun_audit.prun_configure({"file": "/x"}))


def test_both_judge_the_finished_spec(prun_fake: FakeRunner, log: Path) -> None:
    class Refuses:
        @hookimpl
        def prun_check_spec(self, spec: Spec) -> list[Problem]:
            from prun.types import Problem

            return [Problem("/x", "first"), Problem("/y", "second")]

    with pytest.raises(InvalidArgument):
        prun_fake.with_plugins(Refuses(), prun_audit.prun_configure({"file": str(log)})).run("scratch", ["true"])
    assert lines(log)[0]["reasons"] == ["/x: first", "/y: second"]
