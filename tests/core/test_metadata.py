from __future__ import annotations

import multiprocessing
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from prun.errors import AlreadyExists, DataLoss, FailedPrecondition, PermissionDenied
from prun.metadata import VERSION, ContainerRow, ImageRow, Lease, Metadata, schema

if TYPE_CHECKING:
    from pathlib import Path

LEASE = Lease("", "boot", 1, 2)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "metadata.db")


def row(container_id: str, name: str = "", **more: object) -> ContainerRow:
    return ContainerRow(container_id, name or container_id, "img", "", "fake", **more)  # type: ignore[arg-type]


def add(metadata: Metadata, each: ContainerRow) -> None:
    metadata.add_container(each, LEASE._replace(container_id=each.id))


def test_an_image_is_found_by_its_name_alone(path: str) -> None:
    metadata = Metadata(path)
    image = ImageRow("docker.io/library/a:latest", "sha256:1", "type", 7, 1.0)
    metadata.put_image(image)
    assert metadata.image(image.name) == image
    assert metadata.image("docker.io/library/b:latest") is None


def test_an_image_without_a_name_is_known_by_its_digest(path: str) -> None:
    metadata = Metadata(path)
    name = "docker.io/library/a:latest"

    def names() -> list[tuple[str, str]]:
        return sorted((each.name, each.digest) for each in metadata.images())

    metadata.put_image(ImageRow(name, "sha256:1", "type", 7, 1.0))
    metadata.put_image(ImageRow(name, "sha256:2", "type", 7, 1.0))
    assert names() == [(name, "sha256:2"), ("sha256:1", "sha256:1")]
    metadata.put_image(ImageRow("docker.io/library/b:latest", "sha256:1", "type", 7, 1.0))
    assert names() == [(name, "sha256:2"), ("docker.io/library/b:latest", "sha256:1")]
    metadata.put_image(ImageRow("sha256:1", "sha256:1", "type", 7, 1.0))  # loaded again, without a name
    metadata.put_image(ImageRow(name, "sha256:1", "type", 7, 1.0))
    assert names() == [(name, "sha256:1"), ("docker.io/library/b:latest", "sha256:1"), ("sha256:2", "sha256:2")]


def test_a_container_comes_back_as_it_went(path: str) -> None:
    metadata = Metadata(path)
    container = row("c1", labels={"a": "b"}, command=["x", "y"], options={"o": "1"}, keep=False)
    add(metadata, container)
    assert metadata.containers() == [container]
    metadata.update_container("c1", status="stopped", exit_code=3, command=["z"])
    assert metadata.containers() == [container._replace(status="stopped", exit_code=3, command=["z"])]


@pytest.mark.parametrize("second", [("c1", "other"), ("c2", "n1"), ("n1", "other"), ("c2", "c1")])
def test_a_name_is_taken_once_as_id_or_name(path: str, second: tuple[str, str]) -> None:
    metadata = Metadata(path)
    add(metadata, row("c1", "n1"))
    with pytest.raises(AlreadyExists, match=r"in use by container c1 \(n1, created\)"):
        add(metadata, row(*second))
    assert len(metadata.containers()) == len(metadata.leases()) == 1


def test_a_removed_container_takes_its_lease_along(path: str) -> None:
    metadata = Metadata(path)
    add(metadata, row("c1"))
    metadata.drop_container("c1")
    assert metadata.leases() == []


def test_a_dead_lease_is_taken_over_once(path: str) -> None:
    metadata = Metadata(path)
    add(metadata, row("c1"))
    old = metadata.leases()[0]
    assert metadata.take_lease(old, Lease("c1", "boot", 5, 6))
    assert not metadata.take_lease(old, Lease("c1", "boot", 7, 8))
    assert metadata.leases()[0].pid == 5


def test_a_failed_transaction_leaves_nothing(path: str) -> None:
    metadata = Metadata(path)

    def fail() -> None:
        with metadata.transaction():
            metadata.put_image(ImageRow("a", "sha256:1", "t", 1, 1.0))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert metadata.images() == []


def test_a_newer_schema_is_refused(path: str) -> None:
    Metadata(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(FailedPrecondition, match="schema version 99"):
        Metadata(path)


def test_junk_is_called_damaged(path: str) -> None:
    with open(path, "wb") as file:
        file.write(b"not a database, by any means" * 100)
    with pytest.raises(DataLoss, match="is damaged"):
        Metadata(path)


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PermissionDenied, match=r"nope/metadata\.db cannot be opened"):
        Metadata(str(tmp_path / "nope" / "metadata.db"))


def test_the_file_is_private(path: str) -> None:
    import os

    before = os.umask(0)
    try:
        Metadata(path)
    finally:
        os.umask(before)
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_a_crafted_name_is_data(path: str) -> None:
    metadata = Metadata(path)
    name = "'; DROP TABLE images; --"
    metadata.put_image(ImageRow(name, "sha256:1", "t", 1, 1.0))
    assert metadata.image(name) is not None


def _writer(path: str, number: int) -> None:
    metadata = Metadata(path)
    for i in range(20):
        add(metadata, row(f"c{number}-{i}"))
    metadata.close()


def test_many_processes_may_make_and_write_one_database(path: str) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_writer, args=(path, n)) for n in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert len(Metadata(path).containers()) == 80


def test_a_second_connection_of_one_process_keeps_the_locks_of_the_first(path: str) -> None:
    """A closed descriptor of the file would drop them, and another process could write in between."""
    import subprocess
    import sys

    first = Metadata(path)
    code = (
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1], timeout=0.2, isolation_level=None)\n"
        "try: db.execute('BEGIN IMMEDIATE')\n"
        "except sqlite3.OperationalError: sys.exit(9)"
    )
    with first.transaction():
        Metadata(path).close()
        assert subprocess.run([sys.executable, "-c", code, path], check=False).returncode == 9


def test_the_schema_has_as_many_steps_as_its_version_says() -> None:
    assert len(schema.MIGRATIONS) == VERSION


def test_events_are_kept_in_order_and_the_oldest_make_room(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prun.metadata.EVENTS_KEPT", 10)
    db = Metadata(path)
    for number in range(1001):
        db.add_event("container", "die", f"c{number}", {"exitCode": str(number)})
    kept = db.events()
    assert [row.actor for row in kept] == [f"c{number}" for number in range(990, 1001)]
    assert db.events(kept[-2].id) == kept[-1:]
    assert db.last_event("c1000", "die") == kept[-1]
    assert db.last_event("c1000", "start") is None
    assert db.last_event("c0", "die") is None


def test_a_container_that_nobody_is_at_work_on_can_be_taken_once(path: str) -> None:
    db = Metadata(path)
    made = row("a" * 64)
    db.add_container(made, None)
    mine, other = Lease(made.id, "boot", 1, 1), Lease(made.id, "boot", 2, 2)
    assert db.lease(made.id) is None
    assert db.add_lease(mine)
    assert not db.add_lease(other)
    assert db.lease(made.id) == mine
    assert not db.add_lease(Lease("b" * 64, "boot", 1, 1))  # no such container


def seen(directory: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_size, path.stat().st_mtime_ns) for path in directory.iterdir()}


def test_a_copy_to_read_has_what_is_there_and_changes_no_file(tmp_path: Path) -> None:
    path = tmp_path / "a?b#%20.db"
    assert Metadata(str(path), readonly=True).images() == []
    assert not path.exists()
    metadata = Metadata(str(path))
    metadata.put_image(ImageRow("one", "sha256:1", "t", 1, 1.0))
    before = seen(tmp_path)
    assert any(name.endswith("-wal") for name in before)
    copy = Metadata(str(path), readonly=True)
    copy.put_image(ImageRow("own", "sha256:2", "t", 1, 1.0))
    copy.close()
    assert seen(tmp_path) == before
    assert [image.name for image in metadata.images()] == ["one"]
    metadata.close()
    before = seen(tmp_path)
    assert list(before) == [path.name]
    assert [image.name for image in Metadata(str(path), readonly=True).images()] == ["one"]
    assert seen(tmp_path) == before


def test_what_a_killed_writer_has_left_is_read_or_said(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    write = f"""import os
from prun.metadata import ImageRow, Metadata
Metadata({str(path)!r}).put_image(ImageRow("one", "sha256:1", "t", 1, 1.0))
os.kill(os.getpid(), 9)"""
    subprocess.run([sys.executable, "-c", write], check=False)
    before = seen(tmp_path)
    assert [image.name for image in Metadata(str(path), readonly=True).images()] == ["one"]
    assert seen(tmp_path) == before
    (tmp_path / "m.db-shm").unlink()
    with pytest.raises(FailedPrecondition, match="not taken in yet"):
        Metadata(str(path), readonly=True)
    Metadata(str(path)).close()
    assert [image.name for image in Metadata(str(path), readonly=True).images()] == ["one"]
