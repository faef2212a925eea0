"""The metadata database: images, snapshots, containers and leases, volumes and mounts, in SQLite.

Write-ahead logging lets readers and one writer work side by side; every method is one short transaction, and none is
open while a container runs (seed S6).  The file is private to its owner.  ``prun.metadata.schema`` holds the schema,
one step a version; a database of a newer prun is refused rather than guessed at.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from prun.errors import (
    AlreadyExists,
    DataLoss,
    FailedPrecondition,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from prun.metadata.rows import (
    ContainerRow,
    EventRow,
    ImageRow,
    Lease,
    MountRow,
    VolumeRow,
    column,
    container_row,
    event_row,
    volume_row,
)
from prun.types import NOTHING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["ContainerRow", "EventRow", "ImageRow", "Lease", "Metadata", "MountRow", "VolumeRow"]

VERSION = 4  # of the schema; prun.metadata.schema has the steps
EVENTS_KEPT = 20_000


_BUSY_S = 20.0


class Metadata:
    """One connection to the database at ``path``, which is made when it does not exist.

    With ``readonly`` it is to a copy in memory, as the database is now, or to an empty one; the file stays as it is.

    Raises:
        PermissionDenied: the file or its directory may not be read or written.
        FailedPrecondition: a newer prun made it; or one that was killed left a log that only writing takes in.
        DataLoss: it is no database, or a damaged one.
    """

    def __init__(self, path: str, *, readonly: bool = False) -> None:
        self._path = path
        with self._translated():
            self._db = _copied(path) if readonly else _connect(path)
            self._migrate()

    def close(self) -> None:
        """Close the connection; the object is of no use afterwards."""
        self._db.close()

    # Images

    def image(self, name: str) -> ImageRow | None:
        """Return the image of exactly this canonical name."""
        row = self._one("SELECT name, digest, media_type, size_bytes, created_at FROM images WHERE name = ?", name)
        return ImageRow(*row) if row else None

    def images(self) -> list[ImageRow]:
        """Return all images, the newest first."""
        rows = self._all(
            "SELECT name, digest, media_type, size_bytes, created_at FROM images ORDER BY created_at DESC, name"
        )
        return [ImageRow(*row) for row in rows]

    def put_image(self, row: ImageRow) -> None:
        """Let the name point to the target; what loses its last name so is known by its digest (docker's ``<none>``).

        An image that is known by its digest no longer is once it has a name.
        """
        others = "SELECT 1 FROM images WHERE digest = ?1 AND name != ?1"
        with nullcontext() if self._db.in_transaction else self.transaction():
            old = self._one("SELECT digest FROM images WHERE name = ?", row.name)
            if old and old[0] != row.digest:
                self._db.execute("UPDATE OR REPLACE images SET name = digest WHERE name = ?", (row.name,))
                self._db.execute(f"DELETE FROM images WHERE name = ?1 AND EXISTS ({others})", old)  # noqa: S608
            if row.name == row.digest and self._one(others, row.digest):
                return  # it has a name
            self._db.execute("INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?, ?)", row)
            if row.name != row.digest:
                self._db.execute("DELETE FROM images WHERE name = ?", (row.digest,))

    def drop_image(self, name: str) -> None:
        """Forget the name."""
        self._run("DELETE FROM images WHERE name = ?", name)

    # Snapshots (prun.rootfs.snapshots.SnapshotIndex)

    def snapshot_of(self, chain_id: str) -> int | None:
        """Return the number of the directory that holds the chain's top layer."""
        row = self._one("SELECT id FROM snapshots WHERE chain_id = ?", chain_id)
        return int(row[0]) if row else None

    def add_snapshot(self, chain_id: str, parent: str, size_bytes: int) -> int:
        """Record a chain whose directory is complete, and return the number it shall have."""
        sql = "INSERT INTO snapshots (chain_id, parent, size_bytes, created_at) VALUES (?, ?, ?, ?)"
        with self._translated():
            return int(self._db.execute(sql, (chain_id, parent, size_bytes, time.time())).lastrowid or 0)

    def snapshot_size(self, chain_id: str) -> int | None:
        """Return how many bytes of files a layer has unpacked; None where it is not."""
        row = self._one("SELECT size_bytes FROM snapshots WHERE chain_id = ?", chain_id)
        return int(row[0]) if row else None

    def drop_snapshot(self, chain_id: str) -> None:
        """Forget a chain."""
        self._run("DELETE FROM snapshots WHERE chain_id = ?", chain_id)

    def snapshots(self) -> list[tuple[int, str, str]]:
        """Return number, chain ID and parent's chain ID (empty for the first layer) of every snapshot."""
        rows = self._all("SELECT id, chain_id, parent FROM snapshots ORDER BY id")
        return [(int(number), str(chain), str(parent)) for number, chain, parent in rows]

    def snapshot_sizes(self) -> list[tuple[str, str, int]]:
        """Return chain ID, parent's chain ID and the bytes of the layer itself of every snapshot."""
        rows = self._all("SELECT chain_id, parent, size_bytes FROM snapshots")
        return [(str(chain), str(parent), int(size)) for chain, parent, size in rows]

    # Containers and leases

    def add_container(self, row: ContainerRow, lease: Lease | None) -> None:
        """Record a container together with the process that is at work on it, if one is.

        Raises:
            AlreadyExists: the id or the name is taken; the message says by which container.
        """
        with self.transaction():
            self.refuse_taken(row.id, row.name)
            self._db.execute(
                f"INSERT INTO containers VALUES ({', '.join('?' * len(row))})",  # noqa: S608  the count of columns
                [column(value) for value in row],
            )
            if lease:
                self._db.execute("INSERT INTO leases VALUES (?, ?, ?, ?, ?)", (*lease, time.time()))

    def rename_container(self, container_id: str, name: str) -> None:
        """Give a container another name.

        Raises:
            AlreadyExists: it is the name or the id of another one; the message says of which.
        """
        with self.transaction():
            self.refuse_taken(name)
            row = self.container(container_id)
            if row is None:
                raise NotFound(f"container {container_id[:12]} is not there any more")
            self._db.execute("UPDATE containers SET name = ? WHERE id = ?", (name, container_id))
            self.add_event("container", "rename", row.id, {"name": name, "image": row.image, "oldName": row.name})

    def refuse_taken(self, *names: str) -> None:
        """Refuse names that a container has as its name or its id."""
        for name in names:
            taken = self._one("SELECT id, name, status FROM containers WHERE id = ?1 OR name = ?1", name)
            if taken:
                raise AlreadyExists(
                    f"the name {name!r} is in use by container {taken[0][:12]} ({taken[1]}, {taken[2]})",
                    hint=f"remove it (prun rm {taken[1]}) or choose another name",
                )

    def update_container(self, container_id: str, **columns: object) -> None:
        """Set columns of a container: those of ``ContainerRow``."""
        assignments = ", ".join(f"{name} = ?" for name in columns)
        self._run(
            f"UPDATE containers SET {assignments} WHERE id = ?",  # noqa: S608  names are keywords of our own calls
            *map(column, columns.values()),
            container_id,
        )

    def drop_container(self, container_id: str) -> None:
        """Forget a container and its lease."""
        self._run("DELETE FROM containers WHERE id = ?", container_id)

    def container(self, container_id: str) -> ContainerRow | None:
        """Return the container of exactly this id."""
        sql = f"SELECT {', '.join(ContainerRow._fields)} FROM containers WHERE id = ?"  # noqa: S608
        row = self._one(sql, container_id)
        return container_row(row) if row else None

    def containers(self) -> list[ContainerRow]:
        """Return all containers, the newest first."""
        rows = self._all(f"SELECT {', '.join(ContainerRow._fields)} FROM containers ORDER BY created_at DESC")  # noqa: S608
        return [container_row(row) for row in rows]

    def leases(self) -> list[Lease]:
        """Return who is at work on what."""
        return [Lease(*row) for row in self._all("SELECT container_id, boot_id, pid, start_time FROM leases")]

    def unattended(self) -> list[str]:
        """Return the ids of the containers that are said to live, and that nobody is at work on."""
        sql = (
            "SELECT id FROM containers WHERE status IN ('running', 'paused', 'restarting')"
            " AND id NOT IN (SELECT container_id FROM leases)"
        )
        return [str(row[0]) for row in self._all(sql)]

    def lease(self, container_id: str) -> Lease | None:
        """Return who is at work on a container."""
        sql = "SELECT container_id, boot_id, pid, start_time FROM leases WHERE container_id = ?"
        row = self._one(sql, container_id)
        return Lease(*row) if row else None

    def add_lease(self, lease: Lease) -> bool:
        """Let a process be at work on a container; False when another one is, or the container is gone."""
        sql = (
            "INSERT OR IGNORE INTO leases SELECT ?1, ?2, ?3, ?4, ?5"
            " WHERE EXISTS (SELECT 1 FROM containers WHERE id = ?1)"
        )
        with self._translated():
            return self._db.execute(sql, (*lease, time.time())).rowcount == 1

    def take_lease(self, old: Lease, new: Lease) -> bool:
        """Replace a lease whose owner is dead; False when another process was quicker."""
        sql = (
            "UPDATE leases SET boot_id = ?, pid = ?, start_time = ?"
            " WHERE container_id = ? AND boot_id = ? AND pid = ? AND start_time = ?"
        )
        with self._translated():
            done = self._db.execute(
                sql, (new.boot_id, new.pid, new.start_time, old.container_id, old.boot_id, old.pid, old.start_time)
            )
            return done.rowcount == 1

    def drop_lease(self, container_id: str) -> None:
        """Nobody is at work on the container any more."""
        self._run("DELETE FROM leases WHERE container_id = ?", container_id)

    # Volumes and mounts

    def volumes(self) -> list[VolumeRow]:
        """Return all volumes, by name."""
        rows = self._all(f"SELECT {', '.join(VolumeRow._fields)} FROM volumes ORDER BY name")  # noqa: S608
        return [volume_row(row) for row in rows]

    def volume(self, name: str) -> VolumeRow | None:
        """Return the volume of exactly this name."""
        sql = f"SELECT {', '.join(VolumeRow._fields)} FROM volumes WHERE name = ?"  # noqa: S608
        row = self._one(sql, name)
        return volume_row(row) if row else None

    def add_volume(self, row: VolumeRow) -> None:
        """Record a volume; one of that name stays as it is."""
        self._run("INSERT OR IGNORE INTO volumes VALUES (?, ?, ?, ?, ?, ?)", *map(column, row))

    def drop_volume(self, name: str) -> None:
        """Forget a volume."""
        self._run("DELETE FROM volumes WHERE name = ?", name)

    def mounts(self, container_id: str) -> list[MountRow]:
        """Return what a container has mounted, parents before children."""
        return self._mounts("WHERE container_id = ? ORDER BY destination", container_id)

    def all_mounts(self) -> list[MountRow]:
        """Return what all containers have mounted."""
        return self._mounts("ORDER BY container_id, destination")

    def _mounts(self, clause: str, *values: object) -> list[MountRow]:
        rows = self._all(f"SELECT {', '.join(MountRow._fields)} FROM mounts {clause}", *values)  # noqa: S608
        return [MountRow(*row)._replace(options=tuple(json.loads(row[-1]))) for row in rows]

    def add_mounts(self, rows: Iterable[MountRow]) -> None:
        """Record what a container will have mounted, all of it or nothing; what it had there before makes room."""
        with self.transaction():
            for row in rows:
                self._db.execute(
                    "INSERT OR REPLACE INTO mounts VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [column(value) for value in row]
                )

    # Events

    def add_event(self, kind: str, action: str, actor: str, attributes: Mapping[str, str] = NOTHING) -> None:
        """Record that something happened now; the oldest events make room."""
        with self._translated():
            sql = "INSERT INTO events (time, type, action, actor, attributes) VALUES (?, ?, ?, ?, ?)"
            done = self._db.execute(sql, (time.time(), kind, action, actor, column(attributes)))
            if (number := done.lastrowid or 0) % 1000 == 0:
                self._db.execute("DELETE FROM events WHERE id <= ?", (number - EVENTS_KEPT,))

    def events(self, after: int = 0) -> list[EventRow]:
        """Return the events after that number, the oldest first."""
        sql = "SELECT id, time, type, action, actor, attributes FROM events WHERE id > ? ORDER BY id"
        return [event_row(row) for row in self._all(sql, after)]

    def last_event_number(self) -> int:
        """Return the number of the newest event, 0 where there is none."""
        row = self._one("SELECT max(id) FROM events")
        return int(row[0] or 0) if row else 0

    def last_event(self, actor: str, action: str) -> EventRow | None:
        """Return the last event of this kind that happened to a container, also to one that is gone."""
        sql = (
            "SELECT id, time, type, action, actor, attributes FROM events"
            " WHERE actor = ? AND action = ? ORDER BY id DESC LIMIT 1"
        )
        row = self._one(sql, actor, action)
        return event_row(row) if row else None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Hold the write lock; roll back when the block raises."""
        with self._translated():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _migrate(self) -> None:
        version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        if version > VERSION:
            raise FailedPrecondition(
                f"database {self._path} has schema version {version}, this prun knows {VERSION}",
                hint="use the newer prun that made it, or another --root",
            )
        if version == VERSION:
            return
        from prun.metadata.schema import MIGRATIONS

        with self.transaction():
            # Another process may have been quicker: look again, now that the lock is ours.
            version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
            for script in MIGRATIONS[version:]:
                for statement in filter(None, map(str.strip, script.split(";"))):
                    self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {VERSION}")

    def _one(self, sql: str, *values: object) -> tuple[Any, ...] | None:
        with self._translated():
            row: tuple[Any, ...] | None = self._db.execute(sql, values).fetchone()
            return row

    def _all(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with self._translated():
            return self._db.execute(sql, values).fetchall()

    def _run(self, sql: str, *values: object) -> None:
        with self._translated():
            self._db.execute(sql, values)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn SQLite's errors into ours, naming the file."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if "readonly" in str(error) or "unable to open" in str(error):
                raise PermissionDenied(
                    f"database {self._path} cannot be opened for writing: {error}",
                    hint="run prun as its owner (with sudo for the system's store) or choose another --root",
                ) from error
            # SQLite says "disk I/O error" where its shared memory does not fit.
            if "is full" in str(error) or os.statvfs(os.path.dirname(self._path)).f_bavail == 0:
                raise ResourceExhausted(
                    f"database {self._path}: its disk is full", hint="free some room there"
                ) from error
            raise Unavailable(f"database {self._path}: {error}", hint="prun system check") from error
        except sqlite3.DatabaseError as error:
            raise DataLoss(
                f"database {self._path} is damaged: {error}", hint="move it away; images can be loaded again"
            ) from error


def _connect(path: str) -> sqlite3.Connection:
    # SQLite alone may open the file: closing any other descriptor of it would drop the locks of all our connections
    # (https://www.sqlite.org/howtocorrupt.html, 2.2).  Its directory is private whatever the file's first mode is.
    is_new = not os.path.exists(path)
    db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("PRAGMA foreign_keys = ON")
    _use_wal(db)
    if is_new:
        os.chmod(path, 0o600)
    return db


def _copied(path: str) -> sqlite3.Connection:
    """Copy a database into memory without writing anything, its write-ahead log and the index of that neither.

    Where no log is there, nobody has the database open, and SQLite need not look for one (it would make it).
    """
    memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    if os.path.exists(path):
        name = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
        logged = os.path.exists(f"{path}-wal")
        if logged and not os.path.exists(f"{path}-shm"):
            raise FailedPrecondition(
                f"database {path} was left with a log that is not taken in yet, and may not be changed now",
                hint="any other command takes it in, as prun ps -a",
            )
        how = "readonly_shm=1" if logged else "immutable=1"
        source = sqlite3.connect(f"file:{name}?mode=ro&{how}", uri=True, timeout=_BUSY_S)
        try:
            source.backup(memory)
        finally:
            source.close()
    return memory


def _use_wal(db: sqlite3.Connection) -> None:
    """Switch to write-ahead logging; for that alone SQLite does not wait where another process makes the database."""
    deadline = time.monotonic() + _BUSY_S
    while db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
