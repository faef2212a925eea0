"""Plugins that load what is no plugin of prun's: programs, OCI hooks; each where ``prun.toml`` has a table for it."""
