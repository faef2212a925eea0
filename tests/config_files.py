"""Config files for tests: the user's own, a project's, others; and what a command line makes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prun.cli.run import asked

if TYPE_CHECKING:
    from pathlib import Path

    from prun.types import RunRequest


def written(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def own(tmp_path: Path, text: str) -> str:
    """The user's file (XDG_CONFIG_HOME is ``home``)."""
    return written(tmp_path / "home/prun/prun.toml", text)


def project(tmp_path: Path, text: str) -> str:
    """The file of the current directory, which is ``here``."""
    return written(tmp_path / "here/prun.toml", text)


def request(tmp_path: Path, *words: str, command: str = "run", config: str = "") -> RunRequest:
    """The request of ``prun run WORDS``."""
    settings = {"root": str(tmp_path / "root"), "state": str(tmp_path / "state"), "config": config}
    return asked(command, words, settings)[1]
