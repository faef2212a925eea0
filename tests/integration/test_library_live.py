"""Containers that live, from the library."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from prun import Runner
from prun.errors import FailedPrecondition, NotFound

if TYPE_CHECKING:
    from command import Prun


@pytest.fixture
def runner(prun: Prun) -> Runner:
    return Runner(root=str(prun.root), state=str(prun.state))


def test_a_detached_run_is_there_until_it_is_removed(runner: Runner) -> None:
    result = runner.run("busybox", ["sleep", "100"], detach=True, remove=False, name="web", stop_timeout=0)
    assert (result.left, result.stdout) == (True, b"")
    containers = runner.containers
    assert [(row.name, row.status) for row in containers.list()] == [("web", "running")]
    containers.start("web")  # it runs: nothing to do
    with pytest.raises(FailedPrecondition, match="is running"):
        containers.remove("web")
    containers.pause("web")
    assert containers.get("web").status == "paused"
    containers.unpause("web")
    containers.stop("web")
    assert (containers.get("web").status, containers.wait("web")) == ("stopped", 137)
    with pytest.raises(FailedPrecondition, match="not running"):
        containers.kill("web")
    containers.start(result.id[:12])
    containers.remove("web", force=True)
    with pytest.raises(NotFound):
        containers.get("web")


def test_the_exit_code_of_one_that_removes_itself_is_known(runner: Runner) -> None:
    result = runner.run("busybox", ["sh", "-c", "sleep 0.3; exit 7"], detach=True)
    assert runner.containers.wait(result.id) == 7
    assert runner.containers.list() == []


def test_a_created_container_is_started_later(runner: Runner) -> None:
    container_id = runner.create("busybox", ["sh", "-c", "exit 4"])
    assert runner.containers.get(container_id).status == "created"
    runner.containers.start(container_id)
    assert runner.containers.wait(container_id) == 4


def test_what_is_kept_has_its_output_both_ways(runner: Runner) -> None:
    result = runner.run("busybox", ["sh", "-c", "cat; echo err >&2; exit 3"], stdin=b"in", remove=False)
    assert (result.exit_code, result.stdout, result.stderr, result.left) == (3, b"in", b"err\n", False)


def test_runs_in_threads_do_not_disturb_each_other(runner: Runner) -> None:
    import threading

    codes: dict[int, int] = {}

    def one(number: int) -> None:
        codes[number] = runner.run("busybox", ["sh", "-c", f"exit {number}"], remove=number % 2 == 0).exit_code

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == {number: number for number in range(8)}
