"""Every hook is documented, its example runs, and every hookimpl of ours has its types."""

from __future__ import annotations

import inspect
import re
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

import prun_fake
import prun_linux
import prun_windows
from prun import hookspecs
from prun.builtin import defaults, flags
from prun.engines import embedded
from prun.pipeline import dry_run, run
from prun.testing import check_plugin, hooks_with
from prun.types import Container, RunRequest

SPECS = {name: function for name, function in vars(hookspecs).items() if hasattr(function, "prun_spec")}
BUILT_IN = [defaults, flags, embedded, prun_fake, prun_linux, prun_windows]
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "hooks.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (prun_\w+)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))
PREAMBLE = re.search(r"```python\n(.*?)```", PAGE, re.S)


def code_blocks(hook: str) -> tuple[str, str]:
    """Return the signature and the example of a hook's section."""
    signature, example = re.findall(r"```python\n(.*?)```", SECTIONS[hook], re.S)
    return signature, example


def example_plugin(hook: str) -> ModuleType:
    assert PREAMBLE
    module = ModuleType(f"example_of_{hook}")
    exec(compile(PREAMBLE[1] + code_blocks(hook)[1], f"docs/hooks.md {hook}", "exec"), vars(module))
    return module


@pytest.mark.parametrize("hook", SPECS)
def test_every_hook_has_a_docstring_that_says_its_kind(hook: str) -> None:
    kind = "(first)" if SPECS[hook].prun_spec["firstresult"] else "(all)"
    assert kind in (inspect.getdoc(SPECS[hook]) or "").lower()


def test_every_hook_has_a_section_and_every_section_a_hook() -> None:
    assert list(SECTIONS) == list(SPECS)


@pytest.mark.parametrize("hook", SPECS)
def test_the_section_has_the_exact_signature_and_kind(hook: str) -> None:
    exact = str(inspect.signature(SPECS[hook])).replace("'", "")
    assert code_blocks(hook)[0] == f"def {hook}{exact}\n"
    assert ("*First.*" if SPECS[hook].prun_spec["firstresult"] else "*All.*") in SECTIONS[hook]


@pytest.mark.parametrize("hook", SPECS)
def test_the_example_is_short_and_correct(hook: str) -> None:
    example = code_blocks(hook)[1]
    assert 3 <= len([line for line in example.splitlines() if line.strip()]) <= 8
    module = example_plugin(hook)
    assert check_plugin(module) == []
    assert [name for name in vars(module) if name.startswith("prun_")] == [hook]


@pytest.mark.parametrize("hook", SPECS)
def test_the_example_takes_part_in_a_run(
    hook: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PRUN_TRACE_HOOKS", "1")
    hooks = hooks_with(prun_fake, example_plugin(hook))
    request = RunRequest(
        "c1", "scratch", ("true",), runtime="fake", readonly=True, remove=True, capture=True,
        root=str(tmp_path / "root"), state=str(tmp_path / "state"),
    )  # fmt: skip
    assert run(request, hooks).status.code == 0
    hooks.load_task(Container("c1", "fake", "", "", "")).delete()
    dry_run(request, hooks)
    assert f"hook {hook} [00-example_of_{hook}]" in capsys.readouterr().err


@pytest.mark.parametrize("plugin", BUILT_IN, ids=lambda plugin: plugin.__name__)
def test_our_own_hookimpls_have_the_types_of_their_hookspecs(plugin: ModuleType) -> None:
    assert check_plugin(plugin) == []


def test_the_example_of_a_third_partys_runtime_is_correct() -> None:
    spec = spec_from_file_location("prun_hello", ROOT / "examples" / "prun-hello" / "prun_hello.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    assert check_plugin(module) == []


@pytest.mark.parametrize("module", ["prun_fake", "prun_linux", "prun_windows"])
def test_the_init_of_a_runtime_holds_hookimpls_and_nothing_else(module: str) -> None:
    own = [f for _, f in inspect.getmembers(sys.modules[module], inspect.isfunction) if f.__module__ == module]
    assert own
    assert [function.__name__ for function in own if not hasattr(function, "prun_impl")] == []
