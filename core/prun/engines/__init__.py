"""Engines: where images, snapshots and tasks live."""
