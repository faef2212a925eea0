"""The schema of the metadata database, one step a version: a step that has landed is never changed."""

from __future__ import annotations

MIGRATIONS = (
    """
    CREATE TABLE images (
        name TEXT PRIMARY KEY, digest TEXT NOT NULL, media_type TEXT NOT NULL, size_bytes INTEGER NOT NULL,
        created_at REAL NOT NULL);
    CREATE TABLE snapshots (
        id INTEGER PRIMARY KEY AUTOINCREMENT, chain_id TEXT NOT NULL UNIQUE, parent TEXT NOT NULL,
        size_bytes INTEGER NOT NULL, created_at REAL NOT NULL);
    CREATE TABLE containers (
        id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, image TEXT NOT NULL, digest TEXT NOT NULL,
        runtime TEXT NOT NULL, options TEXT NOT NULL, command TEXT NOT NULL, labels TEXT NOT NULL,
        keep INTEGER NOT NULL, status TEXT NOT NULL,
        pid INTEGER, exit_code INTEGER, created_at REAL NOT NULL, started_at REAL, finished_at REAL);
    CREATE TABLE leases (
        container_id TEXT PRIMARY KEY REFERENCES containers (id) ON DELETE CASCADE, boot_id TEXT NOT NULL,
        pid INTEGER NOT NULL, start_time INTEGER NOT NULL, created_at REAL NOT NULL);
    """,
    """
    CREATE TABLE volumes (
        name TEXT PRIMARY KEY, driver TEXT NOT NULL, labels TEXT NOT NULL, options TEXT NOT NULL,
        created_at REAL NOT NULL, anonymous INTEGER NOT NULL);
    CREATE TABLE mounts (
        container_id TEXT NOT NULL REFERENCES containers (id) ON DELETE CASCADE, destination TEXT NOT NULL,
        type TEXT NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL, source TEXT NOT NULL, subpath TEXT NOT NULL,
        options TEXT NOT NULL,
        PRIMARY KEY (container_id, destination));
    ALTER TABLE containers ADD COLUMN stop_signal TEXT NOT NULL DEFAULT '';
    """,
    """
    ALTER TABLE containers ADD COLUMN request TEXT NOT NULL DEFAULT '';
    ALTER TABLE containers ADD COLUMN monitored INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE containers ADD COLUMN start_time INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE containers ADD COLUMN restart TEXT NOT NULL DEFAULT '';
    ALTER TABLE containers ADD COLUMN restart_count INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE containers ADD COLUMN stop_asked INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE containers ADD COLUMN oom_killed INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE containers ADD COLUMN error TEXT NOT NULL DEFAULT '';
    ALTER TABLE containers ADD COLUMN health TEXT NOT NULL DEFAULT '';
    CREATE TABLE events (
        id INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, type TEXT NOT NULL, action TEXT NOT NULL,
        actor TEXT NOT NULL, attributes TEXT NOT NULL);
    CREATE INDEX events_of_actor ON events (actor, action);
    """,
    """
    ALTER TABLE containers ADD COLUMN engine TEXT NOT NULL DEFAULT 'embedded';
    ALTER TABLE containers ADD COLUMN engine_options TEXT NOT NULL DEFAULT '{}';
    """,
)
