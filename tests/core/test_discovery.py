"""What is installed is found at once, cheaply, and nobody else's word is taken for it."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prun import discovery
from prun.discovery import EntryPoint, entry_points, load
from prun.errors import PluginError

LONG_AGO = 1_000_000_000


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of this test's own; returns where the file will be."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Path(discovery._cache_path())


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory on ``sys.path`` to install into, in place of everything but the standard library."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.setattr(sys, "path", [str(site)])
    settle(site)
    return site


def settle(*directories: Path) -> None:
    """Make it look as if nothing had been installed lately."""
    for directory in directories:
        os.utime(directory, (LONG_AGO, LONG_AGO + int(time.monotonic_ns() % 10**8)))


def install(site: Path, distribution: str, name: str, *, group: str = "prun.plugins", value: str = "json") -> None:
    info = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {value}\n")


def look(site: Path) -> list[str]:
    """Return a command that looks for plugins in ``site`` and tells whether it had to scan."""
    code = (
        "import sys; from prun import discovery;"
        f"sys.path[:] = [{str(site)!r}, *(p for p in sys.path if p.startswith(sys.base_prefix))];"
        "print(*discovery.entry_points('prun.plugins'), 'importlib.metadata' in sys.modules)"
    )
    return [sys.executable, "-P", "-c", code]


def count_scans(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Return a list that grows by one with every scan."""
    scans: list[None] = []
    scan = discovery._scan

    def counted() -> discovery._Found:
        scans.append(None)
        return scan()

    monkeypatch.setattr(discovery, "_scan", counted)
    return scans


def test_an_entry_point_tells_its_distribution_version_and_place(site: Path) -> None:
    install(site, "prun-audit", "audit", value="prun_audit:plugin [extra]")
    assert entry_points("prun.plugins") == {
        "audit": EntryPoint("audit", "prun_audit:plugin", "prun-audit", "1.0", str(site / "prun_audit-1.0.dist-info"))
    }
    assert entry_points("prun.runtimes") == {}


def test_a_new_distribution_is_seen_at_once(site: Path) -> None:
    assert entry_points("prun.plugins") == {}
    install(site, "prun-audit", "audit")
    assert list(entry_points("prun.plugins")) == ["audit"]
    install(site, "prun-policy", "policy")
    assert sorted(entry_points("prun.plugins")) == ["audit", "policy"]


def test_a_removed_distribution_is_gone_at_once(site: Path, cache: Path) -> None:
    install(site, "prun-audit", "audit")
    settle(site)
    entry_points("prun.plugins")
    assert cache.exists()
    (site / "prun_audit-1.0.dist-info").rename(site.parent / "gone")
    assert entry_points("prun.plugins") == {}


def test_a_path_entry_that_appears_later_is_seen(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    later = site.parent / "later"
    monkeypatch.setattr(sys, "path", [str(site), str(later)])
    assert entry_points("prun.plugins") == {}
    later.mkdir()
    install(later, "prun-audit", "audit")
    assert list(entry_points("prun.plugins")) == ["audit"]


def test_the_second_look_does_not_scan(site: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(site, "prun-audit", "audit")
    settle(site)
    scans = count_scans(monkeypatch)
    first = entry_points("prun.plugins")
    assert entry_points("prun.plugins") == first
    assert len(scans) == 1
    assert stat.S_IMODE(cache.stat().st_mode) == 0o600
    assert stat.S_IMODE(cache.parent.stat().st_mode) == 0o700
    assert list(cache.parent.iterdir()) == [cache]


def test_a_directory_that_has_just_changed_is_not_cached(site: Path, cache: Path) -> None:
    """pip fills a dist-info directory after it has made it, which does not show in the parent's mtime."""
    info = site / "prun_audit-1.0.dist-info"
    info.mkdir()
    assert entry_points("prun.plugins") == {}
    info.rmdir()
    install(site, "prun-audit", "audit")
    assert list(entry_points("prun.plugins")) == ["audit"]
    assert not cache.exists()


def believed(site: Path, cache: Path) -> bool:
    """Put a lie where the cache is, with the right key, and tell whether it is believed."""
    return "lie" in entry_points("prun.plugins")


def write_lie(cache: Path) -> None:
    cache.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lie = ["lie", "os", "evil", "1", "/evil"]
    found = {"prun.runtimes": [], "prun.engines": [], "prun.plugins": [lie]}
    cache.write_text(json.dumps({"key": discovery._key(), "found": found}))
    cache.chmod(0o600)


def test_a_cache_of_our_own_is_believed(site: Path, cache: Path) -> None:
    write_lie(cache)
    assert believed(site, cache)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_cache_that_others_may_write_is_not_believed(site: Path, cache: Path, mode: int) -> None:
    write_lie(cache)
    cache.chmod(mode)
    assert not believed(site, cache)
    assert stat.S_IMODE(cache.stat().st_mode) == 0o600, "it was not replaced"


@pytest.mark.root
def test_a_cache_of_another_user_is_not_believed(site: Path, cache: Path) -> None:
    write_lie(cache)
    os.chown(cache, 65534, 65534)
    assert not believed(site, cache)


@pytest.mark.root
def test_root_writes_nothing_into_the_home_of_another_user(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, 65534, 65534)
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / ".cache"))
    assert entry_points("prun.plugins") == {}
    assert list(home.iterdir()) == []


def test_a_symlink_in_the_place_of_the_cache_is_not_followed(site: Path, cache: Path) -> None:
    write_lie(cache)
    elsewhere = cache.rename(cache.parent.parent / "elsewhere.json")
    before = elsewhere.read_bytes()
    cache.symlink_to(elsewhere)
    assert not believed(site, cache)
    assert not cache.is_symlink(), "the link was not replaced"
    assert elsewhere.read_bytes() == before, "something was written through the link"


@pytest.mark.timeout(10)
def test_a_fifo_in_the_place_of_the_cache_does_not_hang(site: Path, cache: Path) -> None:
    cache.parent.mkdir(parents=True, mode=0o700)
    os.mkfifo(cache)
    assert entry_points("prun.plugins") == {}
    assert cache.is_file()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'{"key": 1, "found": {}}',
        b'{"key": KEY}',
        b'{"key": KEY, "found": {"prun.plugins": []}}',
        b'{"key": KEY, "found": {"prun.runtimes": [], "prun.engines": [], "prun.plugins": 3}}',
        b'{"key": KEY, "found": {"prun.runtimes": [], "prun.engines": [], "prun.plugins": [["a", "b"]]}}',
        b'{"key": KEY, "found": {"prun.runtimes": [], "prun.engines": [], "prun.plugins": [["a", 1, "c", "d", "e"]]}}',
    ],
)
def test_a_malformed_cache_is_rebuilt(site: Path, cache: Path, content: bytes) -> None:
    install(site, "prun-audit", "audit")
    settle(site)
    cache.parent.mkdir(parents=True, mode=0o700)
    cache.write_bytes(content.replace(b"KEY", json.dumps(discovery._key()).encode()))
    assert list(entry_points("prun.plugins")) == ["audit"]
    assert json.loads(cache.read_text())["found"]["prun.plugins"][0][0] == "audit"


def test_a_cache_that_cannot_be_written_fails_nothing(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    install(site, "prun-audit", "audit")
    settle(site)
    assert list(entry_points("prun.plugins")) == ["audit"]


def test_processes_that_write_at_once_leave_one_whole_cache(site: Path, cache: Path) -> None:
    install(site, "prun-audit", "audit")
    settle(site)
    runs = [subprocess.Popen(look(site), stdout=subprocess.PIPE, text=True) for _ in range(6)]
    assert [run.communicate()[0].split()[0] for run in runs] == ["audit"] * 6
    assert list(cache.parent.iterdir()) == [cache]
    assert entry_points("prun.plugins")["audit"].distribution == "prun-audit"


def test_a_warm_cache_imports_no_importlib_metadata(site: Path, cache: Path) -> None:
    install(site, "prun-audit", "audit")
    settle(site)
    cold, warm = (subprocess.check_output(look(site), text=True).split() for _ in range(2))
    assert cold == ["audit", "True"]
    assert warm == ["audit", "False"]


def test_the_distribution_that_is_first_on_the_path_hides_the_others(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = site.parent / "first"
    first.mkdir()
    monkeypatch.setattr(sys, "path", [str(first), str(site)])
    install(first, "prun.audit", "new")
    install(site, "Prun-Audit", "old")
    assert list(entry_points("prun.plugins")) == ["new"]


def test_entry_points_that_cannot_be_read_stop_the_run_with_the_name_of_the_distribution(site: Path) -> None:
    """It may be a policy, and one that is silently missing would fail open."""
    install(site, "prun-policy", "policy")
    (site / "prun_policy-1.0.dist-info" / "entry_points.txt").write_text("[prun.plugins]\npolicy\n")
    with pytest.raises(PluginError, match=r"entry points of prun-policy 1\.0 in .*prun_policy-1\.0\.dist-info"):
        entry_points("prun.runtimes")


def test_a_damaged_distribution_is_named_after_its_directory(site: Path) -> None:
    install(site, "prun-audit", "audit")
    (site / "prun_audit-1.0.dist-info" / "METADATA").unlink()
    assert entry_points("prun.plugins")["audit"][2:4] == ("prun_audit-1.0.dist-info", "of unknown version")


def test_a_name_claimed_twice_is_an_error_that_names_both_distributions(site: Path) -> None:
    install(site, "prun-audit", "audit")
    install(site, "other-audit", "audit")
    with pytest.raises(PluginError, match=r"'audit'.*(prun-audit 1\.0.*other-audit|other-audit 1\.0.*prun-audit)"):
        entry_points("prun.plugins")
    assert entry_points("prun.runtimes") == {}


def test_a_name_may_be_used_in_two_groups(site: Path) -> None:
    install(site, "prun-audit", "audit")
    install(site, "other-audit", "audit", group="prun.engines")
    assert entry_points("prun.plugins")["audit"].distribution == "prun-audit"
    assert entry_points("prun.engines")["audit"].distribution == "other-audit"


def test_load_returns_the_module_or_its_attribute() -> None:
    assert load(EntryPoint("a", "json", "d", "1", "")) is json
    assert load(EntryPoint("a", "json.decoder:JSONDecoder.decode", "d", "1", "")) is json.JSONDecoder.decode


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_a_plugin_that_does_not_import_is_named_with_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, cause: str
) -> None:
    (tmp_path / "prun_broken.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PluginError, match=r"'broken' of prun-broken 2\.0 did not load") as caught:
        load(EntryPoint("broken", "prun_broken", "prun-broken", "2.0", ""))
    assert cause in str(caught.value)
    assert caught.value.plugin == "broken"
    assert "pip uninstall prun-broken" in caught.value.hint


def test_a_missing_attribute_is_an_error_of_the_plugin() -> None:
    with pytest.raises(PluginError, match="has no attribute 'nope'"):
        load(EntryPoint("a", "json:nope", "d", "1", ""))
