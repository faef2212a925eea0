from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from prun.config import PluginSettings, read_settings
from prun.errors import InvalidArgument, NotFound, PermissionDenied

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def written(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def test_later_files_win_key_by_key(tmp_path: Path) -> None:
    written(
        tmp_path / "config/prun/prun.toml",
        'root = "/a"\nruntime = "fake"\n[runtimes.linux]\nbinary = "crun"\nx = 1\n[plugins.p]\non_error = "warn"\n',
    )
    settings = read_settings(written(tmp_path / "own.toml", 'root = "/b"\n[runtimes.linux]\nbinary = "runc"\n'))
    assert (settings.root, settings.runtime) == ("/b", "fake")
    assert settings.options("linux") == {"binary": "runc", "x": "1"}
    assert settings.plugins["p"].on_error == "warn"


def test_a_plugin_can_be_switched_off_and_on_again(tmp_path: Path) -> None:
    written(tmp_path / "config/prun/prun.toml", "[plugins.p]\nenabled = false\n[plugins.q]\nenabled = false\n")
    settings = read_settings(written(tmp_path / "own.toml", "[plugins.p]\nenabled = true\n"))
    assert {name: plugin.enabled for name, plugin in settings.plugins.items()} == {"p": True, "q": False}


def test_a_plugins_own_keys_are_its_options_and_later_files_win_key_by_key(tmp_path: Path) -> None:
    written(
        tmp_path / "config/prun/prun.toml",
        '[plugins.p]\nuse = "audit"\ntimeout_s = 2.5\nafter = ["q?"]\nfile = "/a"\nkinds = ["x"]\n',
    )
    settings = read_settings(written(tmp_path / "own.toml", '[plugins.p]\nfile = "/b"\n'))
    assert settings.plugins["p"] == PluginSettings(
        use="audit", timeout_s=2.5, after=("q?",), options={"file": "/b", "kinds": ["x"]}
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rot = 1", "no key 'rot'"),
        ("root = 1", "root is 1, not a str"),
        ("runtimes = 1", "runtimes is no table"),
        ("[runtimes]\nlinux = 1", "is no table"),
        ("[runtimes.linux]\nx = [1]", "neither a string"),
        ("[plugins.p]\nenabled = 1", "enabled is 1, not a bool"),
        ('[plugins.p]\non_error = "no"', "on_error is 'no'"),
        ("[plugins.p]\ntimeout_s = -1", "timeout_s is -1"),
        ("[plugins.p]\ntimeout_s = true", "timeout_s is True"),
        ('[plugins.p]\nbefore = "q"', "before is no list"),
        ("[plugins]\np = 1", "is no table"),
        ("root = ", "config file"),
        ("\x00", "config file"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        read_settings(written(tmp_path / "own.toml", text))


def test_a_missing_file_is_an_error_only_when_named(tmp_path: Path) -> None:
    assert read_settings().root == ""
    with pytest.raises(NotFound, match="does not exist"):
        read_settings(str(tmp_path / "nope.toml"))


def test_a_file_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "own.toml", 'root = "/b"')
    (tmp_path / "own.toml").chmod(0o666)
    with pytest.raises(PermissionDenied, match="may be changed by others"):
        read_settings(path)
