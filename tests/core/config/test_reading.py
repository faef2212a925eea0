from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from config_files import written

from prun.config import PluginSettings, read_settings
from prun.errors import NotFound, PermissionDenied

if TYPE_CHECKING:
    from pathlib import Path


def test_later_files_win_key_by_key(tmp_path: Path) -> None:
    written(
        tmp_path / "home/prun/prun.toml",
        'root = "/a"\nruntime = "fake"\n[runtimes.linux]\nbinary = "crun"\nx = 1\n[plugins.p]\non_error = "warn"\n',
    )
    settings = read_settings(written(tmp_path / "own.toml", 'root = "/b"\n[runtimes.linux]\nbinary = "runc"\n'))
    assert (settings.root, settings.runtime) == ("/b", "fake")
    assert settings.options("linux") == {"binary": "runc", "x": "1"}
    assert settings.plugins["p"].on_error == "warn"


def test_a_plugin_can_be_switched_off_and_on_again(tmp_path: Path) -> None:
    written(tmp_path / "home/prun/prun.toml", "[plugins.p]\nenabled = false\n[plugins.q]\nenabled = false\n")
    settings = read_settings(written(tmp_path / "own.toml", "[plugins.p]\nenabled = true\n"))
    assert {name: plugin.enabled for name, plugin in settings.plugins.items()} == {"p": True, "q": False}


def test_a_plugins_own_keys_are_its_options_and_later_files_win_key_by_key(tmp_path: Path) -> None:
    written(
        tmp_path / "home/prun/prun.toml",
        '[plugins.p]\nuse = "audit"\ntimeout_s = 2.5\nafter = ["q?"]\nfile = "/a"\nkinds = ["x"]\n',
    )
    settings = read_settings(written(tmp_path / "own.toml", '[plugins.p]\nfile = "/b"\n'))
    assert settings.plugins["p"] == PluginSettings(
        use="audit", timeout_s=2.5, after=("q?",), options={"file": "/b", "kinds": ["x"]}
    )


def test_what_a_plugin_makes_of_its_own_options_is_its_business(tmp_path: Path) -> None:
    settings = read_settings(written(tmp_path / "own.toml", "[plugins.p]\nfile = '/log/${id}'\nwhen = 1979-05-27\n"))
    assert settings.plugins["p"].options["file"] == "/log/${id}"


def test_a_missing_file_is_an_error_only_when_named(tmp_path: Path) -> None:
    assert read_settings().root == ""
    with pytest.raises(NotFound, match="does not exist"):
        read_settings(str(tmp_path / "nope.toml"))


def test_a_file_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "own.toml", 'root = "/b"')
    (tmp_path / "own.toml").chmod(0o666)
    with pytest.raises(PermissionDenied, match="may be changed by others"):
        read_settings(path)
