"""A broken plugin is one clear error with its distribution's name and version, exit 125, and nothing left behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest

from prun.state import Store

if TYPE_CHECKING:
    from pathlib import Path

HEAD = """
import os, sys, time
from prun import hookimpl
from prun.types import Event, Image, Mount, Platform, Problem
"""


class Site:
    """A place on ``sys.path`` with the plugin ``site`` of the distribution prun-site 2.5, and a store."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.packages = path / "packages"
        info = self.packages / "prun_site-2.5.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: prun-site\nVersion: 2.5\n")
        (info / "entry_points.txt").write_text("[prun.plugins]\nsite = prun_site\n")
        self.config = path / "prun.toml"

    def run(self, source: str, table: str = "", *words: str) -> subprocess.CompletedProcess[str]:
        (self.packages / "prun_site.py").write_text(HEAD + dedent(source))
        self.config.write_text(f"[plugins.site]\n{table}\n" if table else "")
        self.config.chmod(0o600)
        path = os.pathsep.join([str(self.packages), *filter(None, sys.path)])
        environment = {**os.environ, "PYTHONPATH": path, "XDG_CACHE_HOME": str(self.path / "cache")}
        environment.pop("PRUN_PLUGINS", None)
        directories = ("--root", f"{self.path}/root", "--state", f"{self.path}/state", "--config", str(self.config))
        command = words or ("run", "--rm", "--label", "a=b", "--runtime", "fake", "scratch", "true")
        return subprocess.run(
            [sys.executable, "-P", "-m", "prun", *directories, *command],
            env=environment, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip

    def left(self) -> list[str]:
        """Return the containers and the bundles that are there."""
        with Store(f"{self.path}/root", f"{self.path}/state") as store:
            bundles = os.path.join(store.state, "bundles")
            rows = [row.id for row in store.metadata.containers()]
            return rows + (os.listdir(bundles) if os.path.isdir(bundles) else [])


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def told(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line that prun has said."""
    lines = [line for line in done.stderr.splitlines() if not line.startswith("fake:")]
    assert len(lines) == 1, done.stderr
    return lines[0]


BROKEN = {
    "an import error": ("import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
    "sys.exit while it is imported": ("sys.exit(0)", "did not load: SystemExit: 0"),
    "os._exit while it is imported": ("os._exit(0)", r"called os\._exit\(0\)"),
    "a wrong argument": (
        "@hookimpl\ndef prun_event(evnt): ...",
        r"hook 'prun_event'.*evnt",
    ),
    "an unknown hook": ("@hookimpl\ndef prun_evnt(event): ...", "unknown hook 'prun_evnt'"),
    "a hook without its argument's default": ("@hookimpl\ndef prun_mounts(request, image, more): ...", "more"),
    "an exception in a hook": (
        "@hookimpl\ndef prun_event(event):\n    raise ValueError('what a day')",
        "prun_event of prun-site 2.5 failed: ValueError: what a day",
    ),
    "an exception when the container has started": (
        "@hookimpl\ndef prun_event(event):\n    1 / (event.kind != 'started')",
        "prun_event of prun-site 2.5 failed: ZeroDivisionError",
    ),
    "an exception in an option": (
        "@hookimpl\ndef prun_spec_opts():\n    return [lambda spec: spec['nothing']]",
        "code of prun-site 2.5 failed: KeyError: 'nothing'",
    ),
    "sys.exit in an option": (
        "@hookimpl\ndef prun_spec_opts():\n    return [lambda spec: sys.exit(0)]",
        "code of prun-site 2.5 failed: SystemExit: 0",
    ),
    "endless recursion": (
        "@hookimpl\ndef prun_spec_opts():\n    return prun_spec_opts()",
        "prun_spec_opts of prun-site 2.5 failed: RecursionError",
    ),
    "sys.exit in a hook": (
        "@hookimpl\ndef prun_spec_opts():\n    sys.exit(0)",
        "prun_spec_opts of prun-site 2.5 failed: SystemExit: 0",
    ),
    "os._exit in a hook": (
        "@hookimpl\ndef prun_event(event):\n    if event.kind == 'created':\n        os._exit(0)",
        r"prun_event of prun-site 2.5 failed: it called os\._exit\(0\)",
    ),
    "a changed label": (
        "@hookimpl\ndef prun_mounts(request):\n    request.labels['x'] = 'y'",
        "prun_mounts of prun-site 2.5 has changed the request",
    ),
    "a changed image": (
        "@hookimpl\ndef prun_spec_opts(image):\n    image.config.setdefault('Env', []).append('A=B')\n    return []",
        "prun_spec_opts of prun-site 2.5 has changed the image",
    ),
    "a spec changed while it is checked": (
        "@hookimpl\ndef prun_check_spec(spec):\n    spec['process']['args'] = ['sh']\n    return []",
        "prun_check_spec of prun-site 2.5 has changed the spec",
    ),
    "a spec changed by who only watches": (
        "@hookimpl\ndef prun_event(event):\n    if event.kind == 'built':\n        event.detail['hostname'] = 'x'",
        "prun_event of prun-site 2.5 has changed the event",
    ),
    "no list": ("@hookimpl\ndef prun_mounts():\n    return 3", "prun_mounts of prun-site 2.5 answered 3, which is"),
    "a list of something else": (
        "@hookimpl\ndef prun_check_spec():\n    return ['not today']",
        r"prun_check_spec of prun-site 2.5 answered \['not today'\], which is not a list of Problems",
    ),
    "a mount of other things": (
        "@hookimpl\ndef prun_mounts():\n    return [Mount(b'/x')]", "which is not a list of Mounts"
    ),
    "an option that cannot be called": (
        "@hookimpl\ndef prun_spec_opts():\n    return [{'hostname': 'x'}]", "which is not a list of functions"
    ),
    "no image": ("@hookimpl\ndef prun_resolve_image():\n    return 'scratch'", "'scratch', which is not an Image"),
    "no root file system": ("@hookimpl\ndef prun_prepare_rootfs():\n    return '/'", "'/', which is not a Rootfs"),
    "no console": ("@hookimpl\ndef prun_open_console():\n    return 1", "1, which is not a Console"),
    "no task": ("@hookimpl\ndef prun_create_task():\n    return object()", "which is not a Task"),
    "a wrapper of pluggy's old style": (
        "@hookimpl(hookwrapper=True)\ndef prun_mounts():\n    yield", "prun_mounts of prun-site 2.5 says hookwrapper"
    ),
    "a wrapper that fails before": (
        "@hookimpl(wrapper=True)\ndef prun_mounts():\n    1 / 0\n    return (yield)",
        "prun_mounts of prun-site 2.5 failed: ZeroDivisionError",
    ),
    "a wrapper that fails after": (
        "@hookimpl(wrapper=True)\ndef prun_create_task():\n    yield\n    1 / 0",
        "prun_create_task of prun-site 2.5 failed: ZeroDivisionError",
    ),
    "a wrapper that does not yield": (
        "@hookimpl(wrapper=True)\ndef prun_mounts():\n    return []\n    yield", "is a wrapper that does not yield once"
    ),
    "a wrapper that yields twice": (
        "@hookimpl(wrapper=True)\ndef prun_mounts():\n    yield\n    yield", "is a wrapper that does not yield once"
    ),
    "a wrapper that passes on half": (
        "@hookimpl(wrapper=True)\ndef prun_mounts():\n    yield\n    return [Mount('/x')]",
        "which is not a list of the answers, each a list of Mounts",
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_plugin_is_one_clear_error(site: Site, how: str) -> None:
    source, message = BROKEN[how]
    done = site.run(source)
    assert done.returncode == 125, done.stderr
    line = told(done)
    assert re.search(message, line), line
    assert "prun-site" in line
    assert "2.5" in line
    assert site.left() == []


HANGS = {
    "in Python": "while True: pass",
    "in a call of the system": "time.sleep(60)",
    "with all exceptions caught": "\n".join(
        ("deadline = time.monotonic() + 60", "        while time.monotonic() < deadline:",
         "            try: time.sleep(1)", "            except Exception: pass")
    ),
}  # fmt: skip


@pytest.mark.parametrize("where", HANGS)
def test_a_hook_that_hangs_is_ended(site: Site, where: str) -> None:
    began = time.monotonic()
    done = site.run(f"@hookimpl\ndef prun_event(event):\n    if event.kind == 'created':\n        {HANGS[where]}",
                    "timeout_s = 0.2")  # fmt: skip
    assert done.returncode == 125
    assert "prun_event of prun-site 2.5 failed: it took longer than 0.2 s" in told(done)
    assert time.monotonic() - began < 5
    assert site.left() == []


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("time.sleep(60)", "the import of prun-site 2.5 failed: it took longer"),
        ("@hookimpl\ndef prun_spec_opts():\n    return [lambda spec: time.sleep(60)]", "code of prun-site 2.5 failed"),
        ("@hookimpl(wrapper=True)\ndef prun_mounts():\n    yield\n    time.sleep(60)", "prun_mounts of prun-site 2.5"),
    ],
)  # fmt: skip
def test_other_code_of_a_plugin_that_hangs_is_ended(
    site: Site, source: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = f"from prun import guard, plugins\nplugins.DEFAULT_S = 0.2\n{source}"
    done = site.run(source, "timeout_s = 0.2")
    assert done.returncode == 125
    assert message in told(done)
    assert site.left() == []


def test_a_plugin_that_goes_on_whatever_is_raised_ends_the_process_and_leaves_nothing(site: Site) -> None:
    done = site.run(
        """
        @hookimpl
        def prun_event(event):
            while event.kind == "created":
                try:
                    time.sleep(60)
                except BaseException:
                    pass
        """,
        "timeout_s = 0.1",
    )
    assert done.returncode == 125
    assert "prun_event of prun-site 2.5 took longer than 0.1 s and cannot be interrupted" in told(done)
    deadline = time.monotonic() + 20
    while site.left() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert site.left() == []


def test_the_time_of_a_wrapper_is_not_that_of_those_inside(site: Site) -> None:
    done = site.run(
        """
        @hookimpl(wrapper=True)
        def prun_mounts():
            yield
            return []

        class Slow:
            @hookimpl
            def prun_mounts(self):
                time.sleep(0.5)
                return []
        """,
        "timeout_s = 0.2",
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("source", ["import nowhere_at_all", "@hookimpl\ndef prun_evnt(): ...",
                                    "@hookimpl\ndef prun_mounts():\n    sys.exit(3)", "raise SystemExit",
                                    "@hookimpl\ndef prun_mounts():\n    return 3",
                                    "@hookimpl(wrapper=True)\ndef prun_mounts():\n    1 / 0\n    yield",
                                    "@hookimpl(wrapper=True)\ndef prun_mounts():\n    yield\n    1 / 0"])  # fmt: skip
def test_where_it_may_fail_it_is_left_out_with_a_warning_or_without(site: Site, source: str) -> None:
    warned = site.run(source, 'on_error = "warn"')
    assert warned.returncode == 0, warned.stderr
    assert "plugin site is left out" in told(warned)
    skipped = site.run(source, 'on_error = "skip"')
    assert skipped.returncode == 0
    assert "site" not in skipped.stderr


def test_a_plugin_that_says_no_is_heard_also_where_it_may_fail(site: Site) -> None:
    source = "@hookimpl\ndef prun_check_spec():\n    return [Problem('/x', 'not today', 'try tomorrow')]"
    done = site.run(source, 'on_error = "skip"')
    assert done.returncode == 125
    assert "/x: not today (try tomorrow)" in told(done)
    source = "from prun.errors import InvalidArgument\n@hookimpl\ndef prun_mounts():\n    raise InvalidArgument('no')"
    assert site.run(source, 'on_error = "warn"').returncode == 125


def test_a_child_of_a_plugins_may_exit_as_it_likes(site: Site) -> None:
    source = """
    @hookimpl
    def prun_event(event):
        if event.kind == "created":
            pid = os.fork()
            if not pid:
                os._exit(7)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    """
    assert site.run(source).returncode == 0


def test_plugins_list_and_doctor_tell_what_is_broken_and_go_on(site: Site) -> None:
    done = site.run("os._exit(0)", "", "plugins", "list", "--format", "{{.Name}} {{.State}}")
    assert done.returncode == 0, done.stderr
    assert "site broken: the import of prun-site 2.5 failed: it called os._exit(0)" in done.stdout
    assert "linux enabled" in done.stdout


@pytest.mark.root
@pytest.mark.parametrize(
    "words", [("plugins",), ("plugins", "show", "site"), ("plugins", "order"), ("spec", "scratch")]
)
def test_as_root_nothing_executes_what_another_user_may_change(site: Site, words: tuple[str, ...]) -> None:
    (site.packages / "prun_site.py").touch()
    os.chown(site.packages / "prun_site.py", 12345, 12345)
    done = site.run("print('executed')", "", *words)
    assert "executed" not in done.stdout
    assert "is not loaded as root" in done.stdout + done.stderr
