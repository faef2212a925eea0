"""As root, prun executes no code that another user may change."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from prun import discovery
from prun.discovery import EntryPoint
from prun.errors import PluginError
from prun.guard import Guard
from prun.loading import _import
from prun.trust import Trust, code_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.machinery import ModuleSpec
    from pathlib import Path

pytestmark = pytest.mark.root
OTHER = 12345
GUARD = Guard("site", "prun-site 2.5", timeout_s=0)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory on ``sys.path`` with a package, a module, and the metadata of both."""
    site = tmp_path / "site"
    (site / "prun_site_package" / "inner").mkdir(parents=True)
    (site / "prun_site_package" / "__init__.py").write_text("")
    (site / "prun_site_package" / "inner" / "data.txt").write_text("")
    (site / "prun_site_module.py").write_text("")
    (site / "prun_site-2.5.dist-info").mkdir()
    (site / "prun_site-2.5.dist-info" / "entry_points.txt").write_text("")
    monkeypatch.syspath_prepend(site)
    for name in ("prun_site_package", "prun_site_module"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return site


def load(site: Path, module: str) -> None:
    trust = Trust(frozenset((0, os.geteuid())))
    entry = EntryPoint("site", module, "prun-site", "2.5", str(site / "prun_site-2.5.dist-info"))
    _import(entry, GUARD, lambda: trust)


def test_what_only_root_may_change_is_imported(site: Path) -> None:
    load(site, "prun_site_package")
    load(site, "prun_site_module")


def spec_of(module: str) -> ModuleSpec:
    spec = discovery.spec_of(EntryPoint("x", module, "", "", ""))
    assert spec
    return spec


def given_away(path: Path) -> None:
    os.chown(path, OTHER, OTHER)


def writable(path: Path) -> None:
    path.chmod(path.stat().st_mode | 0o002)


CHANGES = [
    ("prun_site_package", given_away), ("prun_site_package", writable),
    ("prun_site_package/__init__.py", writable), ("prun_site_package/inner/data.txt", given_away),
    ("prun_site_package/inner", writable), ("prun_site-2.5.dist-info", given_away),
    ("prun_site-2.5.dist-info/entry_points.txt", writable), (".", writable), ("..", given_away),
]  # fmt: skip


@pytest.mark.parametrize(("path", "change"), CHANGES)
def test_what_another_may_change_is_refused_with_the_reason(
    site: Path, path: str, change: Callable[[Path], None]
) -> None:
    change(site / path)
    with pytest.raises(PluginError, match=r"'site' of prun-site 2.5 is not loaded as root: ") as caught:
        load(site, "prun_site_package")
    assert os.path.normpath(site / path) in str(caught.value)
    assert ("uid 12345" if change is given_away else "others than its owner may write") in str(caught.value)
    (site / path).chmod(0o755)
    os.chown(site / path, 0, 0)


@pytest.mark.parametrize("path", ["prun_site_module.py", "__pycache__"])
def test_so_is_a_module_with_its_bytecode(site: Path, path: str) -> None:
    (site / "__pycache__").mkdir()
    writable(site / path)
    with pytest.raises(PluginError, match=r"others than its owner may write to .*\(mode"):
        load(site, "prun_site_module")


def test_links_are_followed_to_where_they_lead(site: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (site / "prun_site_package").rename(elsewhere)
    (site / "prun_site_package").symlink_to(elsewhere)
    load(site, "prun_site_package")
    writable(elsewhere)
    with pytest.raises(PluginError, match=f"write to {elsewhere}"):
        load(site, "prun_site_package")


def test_a_link_of_another_user_is_refused(site: Path, tmp_path: Path) -> None:
    (site / "prun_site_package").rename(tmp_path / "elsewhere")
    (site / "prun_site_package").symlink_to(tmp_path / "elsewhere")
    os.chown(site / "prun_site_package", OTHER, OTHER, follow_symlinks=False)
    with pytest.raises(PluginError, match="belongs to uid 12345"):
        load(site, "prun_site_package")


def test_a_circle_of_links_ends(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert Trust(frozenset((0,))).why_not(str(tmp_path / "a")) == ""


def test_a_sticky_directory_does_no_harm(tmp_path: Path) -> None:
    sticky = tmp_path / "sticky"
    sticky.mkdir()
    sticky.chmod(0o1777)
    assert Trust(frozenset((0,))).why_not(str(sticky / "file")) == ""


def test_a_group_without_members_writes_nothing(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o775)
    assert Trust(frozenset((0,))).why_not(str(shared)) == ""
    os.chown(shared, 0, 54321)
    assert Trust(frozenset((0,))).why_not(str(shared)) == ""
    os.chown(shared, 0, 65534)  # nobody's
    assert "others than its owner" in Trust(frozenset((0,))).why_not(str(shared))


def test_code_is_found_without_being_imported(site: Path) -> None:
    (site / "prun_site_module.py").write_text("raise SystemExit")
    source, bytecode = code_of(spec_of("prun_site_module"))
    assert source == str(site / "prun_site_module.py")
    assert bytecode.startswith(str(site / "__pycache__"))
    assert code_of(spec_of("prun_site_package")) == [str(site / "prun_site_package")]
    assert code_of(spec_of("sys")) == []
    assert discovery.spec_of(EntryPoint("x", "prun_nowhere_at_all", "", "", "")) is None
