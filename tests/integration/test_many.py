"""Many runs at once."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from command import NOTHING

import prun as library

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Prun


def test_twenty_runs_of_a_fresh_image_unpack_it_once(new_prun: Callable[[], Prun], archive: Path) -> None:
    prun = new_prun()
    assert prun("load", "--no-unpack", "--tag", "busybox", str(archive)).returncode == 0
    assert not (prun.root / "snapshots" / "1").exists()
    processes = [prun.popen("run", "--rm", "busybox", "sh", "-c", "echo $$") for _ in range(20)]
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert (process.returncode, out) == (0, b"1\n"), err
    assert sorted(path.name for path in (prun.root / "snapshots").iterdir() if path.name.isdigit()) == ["1"]
    assert prun.traces() == NOTHING
    assert prun("ps", "-aq").stdout == ""


def test_twenty_runs_straight_from_an_archive_load_it_once(new_prun: Callable[[], Prun], archive: Path) -> None:
    prun = new_prun()
    processes = [prun.popen("run", "--rm", str(archive), "true") for _ in range(20)]
    for process in processes:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    assert prun("images", "-q").stdout.count("\n") == 1
    assert prun.traces() == NOTHING


def test_one_of_twenty_gets_a_name(store: Prun) -> None:
    processes = [store.popen("run", "--name", "wanted", "busybox", "sleep", "1") for _ in range(20)]
    codes = []
    for process in processes:
        _, err = process.communicate(timeout=120)
        codes.append(process.returncode)
        assert process.returncode in (0, 125), err
    assert codes.count(0) == 1
    assert store("rm", "wanted").returncode == 0
    assert store.traces() == NOTHING


def test_one_process_runs_containers_from_many_threads(store: Prun) -> None:
    runner = library.Runner(root=str(store.root), state=str(store.state))
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda n: runner.run("busybox", ["sh", "-c", f"echo {n}; exit {n}"]), range(24)))
    assert [(result.exit_code, result.stdout) for result in results] == [(n, b"%d\n" % n) for n in range(24)]
    assert store.traces() == NOTHING


def test_the_library_gives_the_result_of_a_real_run(store: Prun) -> None:
    runner = library.Runner(root=str(store.root), state=str(store.state))
    result = runner.run(
        "busybox", ["sh", "-c", "cat; echo err >&2; echo $WHO; exit 3"], stdin=b"in ", env={"WHO": "me"}
    )
    assert result[:3] == (3, b"in me\n", b"err\n")
    assert len(result.id) == 64


def test_an_interrupted_library_call_ends_its_container(store: Prun) -> None:
    runner = library.Runner(root=str(store.root), state=str(store.state))
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        runner.run("busybox", ["sleep", "100"])
    except KeyboardInterrupt:
        interrupted = True
    else:
        interrupted = False
    assert interrupted
    assert store.traces() == NOTHING
