"""The pages for authors, followed to the letter in a fresh environment: files, commands, and what they print."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.packaging, pytest.mark.slow]

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pages are followed, one after the other, with a root file system for the runtime that needs one."""
    directory = tmp_path_factory.mktemp("author")
    for name in ("bin", "dev", "proc", "sys"):
        (directory / "rootfs" / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", directory / "rootfs" / "bin")
    (directory / "rootfs" / "bin" / "sh").symlink_to("busybox")
    return directory


@pytest.mark.parametrize("page", ["writing-a-runtime.md", "writing-a-plugin.md"])
def test_the_page_does_what_it_says(page: str, place: Path, environment: Path) -> None:
    blocks = BLOCK.findall((DOCS / page).read_text(encoding="utf-8"))
    assert {language for language, _ in blocks} <= {"python", "toml", "console"}
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PRUN_", "PYTEST_", "PYTHON"))}
    env |= {
        "PATH": f"{environment}:{env['PATH']}",
        "XDG_CACHE_HOME": str(place / "cache"),
        "XDG_CONFIG_HOME": str(place / "config"),
        "PRUN_ROOT": str(place / "root"),
        "PRUN_STATE": str(place / "state"),
        "ROOTFS": str(place / "rootfs"),
        # The tools are there already: nothing is fetched, nothing is built anew.
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_NO_INDEX": "1",
        "PIP_QUIET": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    for language, text in blocks:
        if language != "console":
            name, content = re.fullmatch(r"# (\S+)\n(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
            (place / name).parent.mkdir(exist_ok=True)
            (place / name).write_text(content, encoding="utf-8")
            continue
        for command, told in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE):
            result = subprocess.run(
                ["bash", "-c", command], cwd=place, env=env, capture_output=True, text=True, check=False
            )
            assert result.returncode == 0, f"$ {command}\n{result.stdout}{result.stderr}"
            assert result.stderr == ""
            pattern = re.escape(told).replace(r"\.\.\.", ".*")
            assert re.fullmatch(pattern, result.stdout), f"$ {command}\n{result.stdout}"


def test_the_first_runtime_has_less_than_twenty_lines_of_code() -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", (DOCS / "writing-a-runtime.md").read_text("utf-8"), re.M | re.S)
    lines = [line for line in code.splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) < 20, lines
