"""The fixtures that suites of plugins' authors get, seen from such a suite."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from prun.testing import FakeRunner, SpecSnapshots, differences

pytest_plugins = ["pytester"]

PLUGIN = """
from prun import hookimpl
from prun.spec import with_env, with_hostname
from prun.spec.document import Spec
from prun.types import Problem

@hookimpl
def prun_spec_opts() -> "list[SpecOpt]":
    return [with_env(["SITE=a"])]

@hookimpl
def prun_check_spec(spec: Spec) -> list[Problem]:
    if spec["process"]["args"] != ["forbidden"]:
        return []
    return [Problem("/process/args", "not on this site")]
"""
SUITE = """
import pytest
import site_plugin
from prun.errors import InvalidArgument

def test_the_environment(prun_fake, spec_snapshot):
    spec = prun_fake.with_plugins(site_plugin).spec("scratch", ["x"])
    spec_snapshot(spec["process"])

def test_the_veto(prun_fake):
    runner = prun_fake.with_plugins(site_plugin)
    assert runner.run("scratch", ["exit", "3"]).exit_code == 3
    with pytest.raises(InvalidArgument, match="not on this site"):
        runner.run("scratch", ["forbidden"])

def test_the_plugin_is_well_made(check_plugin):
    check_plugin(site_plugin)

def test_the_hooks(hooks_with):
    assert len(hooks_with(site_plugin).names()) == len(hooks_with().names()) + 1

def test_the_runtime(runtime_conformance):
    import prun_fake
    runtime_conformance(prun_fake, exits=lambda code: ("exit", str(code)), sleeps=lambda s: ("sleep", str(s)),
                        writes=lambda text: ("echo", text), copies=(), missing=())
"""


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(site_plugin=PLUGIN, test_site=SUITE)
    pytester.syspathinsert()
    return pytester


def test_a_suite_uses_every_fixture(suite: pytest.Pytester) -> None:
    suite.runpytest_inprocess("--update-specs").assert_outcomes(passed=5)
    golden = suite.path / "specs" / "test_site.test_the_environment.json"
    assert "SITE=a" in json.loads(golden.read_text())["env"]
    suite.runpytest_inprocess("-k", "environment").assert_outcomes(passed=1, deselected=4)


def test_a_spec_that_changed_is_told_place_by_place(suite: pytest.Pytester) -> None:
    suite.runpytest_inprocess("-k", "environment").stdout.fnmatch_lines(["*there is no *run pytest --update-specs*"])
    suite.runpytest_inprocess("--update-specs", "-k", "environment")
    suite.makepyfile(site_plugin=PLUGIN.replace("SITE=a", "SITE=other"))
    sys.modules.pop("site_plugin", None)
    result = suite.runpytest_inprocess("-k", "environment")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*differs from */specs/test_site.test_the_environment.json in 1 place*"])
    result.stdout.fnmatch_lines(['*/env/*: "SITE=a" -> "SITE=other"*'])


def test_a_plugin_that_is_not_well_made_fails_its_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        def test_it(check_plugin):
            class Plugin:
                def prun_mounts(self): ...
            check_plugin(Plugin)
    """)
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*prun_mounts: not marked with @hookimpl*"])


def test_a_suite_that_uses_no_fixture_does_not_import_prun(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text(
        "import sys\ndef test_it():\n    assert not [name for name in sys.modules if name.split('.')[0] == 'prun']\n"
    )
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    result = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "1 passed" in result.stdout, result.stdout


def test_a_command_runs_on_the_same_store(prun_fake: FakeRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRUN_RUNTIME", "nonsense")
    assert prun_fake.command("run", "scratch", "echo", "hi").stdout == 'fake: would run ["echo", "hi"]\n'
    assert prun_fake.command("ps", "-a", "--format", "{{.Command}}").stdout == '"echo hi"\n'
    with pytest.raises(AssertionError, match=r"exit code 7, not 0"):
        prun_fake.command("run", "--rm", "scratch", "exit", "7")
    prun_fake.command("run", "--rm", "scratch", "exit", "7", code=7)


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": True}, ["/a: 1 -> true"]),
        ({"a": 1}, {"b/~": 1}, ["/a: - 1", "/b~1~0: + 1"]),
        ({"m": ["x", "y", "z"]}, {"m": ["new", "x", "y", "z"]}, ['/m/0: + "new"']),
        ({"m": ["x", "y", "z"]}, {"m": ["x", "z"]}, ['/m/1: - "y"']),
        ({"m": [{"d": "/a", "o": ["ro"]}]}, {"m": [{"d": "/a", "o": ["rw"]}]}, ['/m/0/o/0: "ro" -> "rw"']),
        (["a"], {"a": 1}, ['(all): ["a"] -> {"a": 1}']),
    ],
)
def test_a_difference_is_named_by_its_pointer(old: object, new: object, lines: list[str]) -> None:
    assert list(differences(old, new)) == lines


def test_a_long_value_is_cut(tmp_path: Path) -> None:
    (line,) = differences({"a": ""}, {"a": "x" * 1000})
    assert line.endswith("... (1002 characters)")


def test_what_differs_at_each_run_is_replaced(tmp_path: Path) -> None:
    place = str(tmp_path / "store")
    SpecSnapshots(str(tmp_path), "a", update=True)({"root": {"path": place}}, replace={place: "STORE"})
    assert json.loads((tmp_path / "a.json").read_text()) == {"root": {"path": "STORE"}}
    SpecSnapshots(str(tmp_path), "a")({"root": {"path": "elsewhere"}}, replace={"elsewhere": "STORE"})


def test_the_examples_of_the_documentation_pass(pytester: pytest.Pytester) -> None:
    page = (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")
    files = re.findall(r"```python\n# (\S+)\n(.*?)```", page, re.DOTALL)
    for name, text in files:
        (pytester.path / name).write_text(text, encoding="utf-8")
    pytester.syspathinsert()
    sys.modules.pop("site_plugin", None)
    pytester.runpytest_inprocess("--update-specs").assert_outcomes(
        passed=sum(text.count("def test_") for _, text in files)
    )
    golden = json.loads((pytester.path / "specs" / "test_specs.test_the_process.json").read_text())
    assert golden["cwd"] == "DIRECTORY"
    pytester.runpytest_inprocess("-k", "process").assert_outcomes(passed=1, deselected=6)
