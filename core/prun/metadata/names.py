"""The names in a store, for completion: read without changing anything, from a database that somebody else has made."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import NamedTuple

_TABLES = {
    "containers": "SELECT name, id, status, image FROM containers ORDER BY created_at DESC",
    "images": "SELECT name, digest, '', '' FROM images ORDER BY created_at DESC",
    "volumes": "SELECT name, '', '', '' FROM volumes ORDER BY name",
}


class Named(NamedTuple):
    """A name; of an image its digest, of a container its id, its status and its image."""

    name: str
    id: str = ""
    status: str = ""
    image: str = ""


def names(path: str, table: str) -> list[Named]:
    """Return what a table of the database at ``path`` names; nothing where it is not there, or cannot be read now.

    ``table``: containers, images or volumes.
    """
    # Where nobody has it open, it is complete without its log, and reading it so makes no file beside it.
    how = "mode=ro" if os.path.exists(f"{path}-wal") else "mode=ro&immutable=1"
    escaped = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    try:
        with closing(sqlite3.connect(f"file:{escaped}?{how}", uri=True, timeout=0.2)) as db:
            return [Named(*map(str, row)) for row in db.execute(_TABLES[table])]
    except sqlite3.Error:
        return []
