"""What a command must not import: start-up is most of what a user feels.

Budgets only fall.  They are modules, not milliseconds, so that they hold on any machine.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

HEAVY = {
    "asyncio",
    "email",
    "grpc",
    "http",
    "importlib.metadata",
    "logging",
    "prun_protos",
    "prun.image.registry",
    "rich",
    "tarfile",
    "urllib",
    "urllib3",
    "cryptography",
}
RUN_PATH = HEAVY | {"click", "ctypes", "dataclasses", "hashlib", "pathlib", "shutil", "subprocess", "tempfile"}
NO_PLUGINS = {"pluggy", "prun.discovery", "prun.pipeline", "prun.plugins", "sqlite3"}
UNASKED = {"prun.locking", "prun.observing", "prun.otlp", "prun.timeline", "prun.tracefile"}  # --timing, --lock, ...
RUN = "import prun.cli; prun.cli.command(['--root', {root!r}, '--state', {state!r}, *{words!r}])"


def imported(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Run code twice in new interpreters, and return the modules that the second one imported."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    code = f"import sys; before = set(sys.modules); {code}; print(*set(sys.modules) - before)"
    for _ in range(2):  # the first fills the caches
        out = subprocess.check_output([sys.executable, "-P", "-c", code], text=True)
    return set(out.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("code", "never", "budget"),
    [
        ("import prun", RUN_PATH | NO_PLUGINS | {"prun.api", "prun.types"}, 30),
        ("import prun.cli", RUN_PATH | NO_PLUGINS, 32),
        ("from prun import hookimpl", RUN_PATH | (NO_PLUGINS - {"pluggy"}), 60),
        ("import prun.testing", RUN_PATH | NO_PLUGINS, 32),
    ],
)
def test_an_import_costs_little(
    code: str, never: set[str], budget: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = imported(code, tmp_path, monkeypatch)
    assert seen & never == set()
    assert len(seen) <= budget, sorted(seen)


@pytest.mark.parametrize(
    ("words", "never", "budget"),
    [
        (["--version"], HEAVY | NO_PLUGINS, 90),
        (["--help"], HEAVY | NO_PLUGINS, 90),
        (
            ["run", "--rm", "--runtime", "fake", "scratch", "true"],
            RUN_PATH | UNASKED | {"prun_linux", "prun_windows"},
            134,
        ),
        (["__complete", "zsh", "run", "--rm", "b"], RUN_PATH | (NO_PLUGINS - {"sqlite3"}), 90),
        (["__complete", "zsh", "rm", "b"], HEAVY, 160),
        (["spec", "--runtime", "fake", "scratch", "true"], RUN_PATH | {"prun_linux", "prun_windows"}, 128),
    ],
)
def test_a_command_costs_little(
    words: list[str], never: set[str], budget: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RUN.format(root=str(tmp_path / "root"), state=str(tmp_path / "state"), words=words)
    seen = imported(run, tmp_path, monkeypatch)
    assert seen & never == set()
    assert len(seen) <= budget, sorted(seen)


FILES = ("prun.config.files", "prun.config.reading", "prun.cli.named", "tomli")


def test_a_config_file_is_paid_for_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than reading it: where nothing is wrong, nothing is asked who is to blame."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    words = ["spec", "--runtime", "fake", "scratch", "true"]
    run = RUN.format(root=str(tmp_path / "root"), state=str(tmp_path / "state"), words=words)
    without = imported(run, tmp_path, monkeypatch)
    assert {name for name in without if name.startswith("prun.config.")} == set()
    assert without.isdisjoint(FILES)
    (tmp_path / "prun").mkdir()
    (tmp_path / "prun/prun.toml").write_text("[defaults]\nhostname = 'x'\n")
    seen = imported(run, tmp_path, monkeypatch)
    assert seen.issuperset(FILES)
    assert seen & RUN_PATH - {"dataclasses"} == set()
    assert not seen & {
        "prun.config.blame",
        "prun.config.deep",
        "prun.config.published",
        "difflib",
        "click",
        "json.tool",
    }
    assert len(seen - without) <= 24, sorted(seen - without)


def test_plugins_that_come_with_prun_are_not_imported_where_no_table_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PRUN_PLUGINS")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    words = ["run", "--rm", "--runtime", "fake", "scratch", "true"]
    run = RUN.format(root=str(tmp_path / "root"), state=str(tmp_path / "state"), words=words)
    seen = imported(run, tmp_path, monkeypatch)
    assert "prun_fake" in seen
    assert seen & {"prun_audit", "prun_policy", "prun_fake.recorder", "prun_fake.replay", "pytest_prun"} == set()
