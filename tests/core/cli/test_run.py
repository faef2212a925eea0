"""From the words of ``prun run`` to a request, where the command line has more to say than the library."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from prun.cli.run import asked, check_combination
from prun.errors import InvalidArgument
from prun.types import Platform, RunRequest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    return {"root": str(tmp_path), "state": str(tmp_path)}


def request(settings: dict[str, str], *words: str) -> RunRequest:
    return asked("run", [*words, "image"], settings)[1]


def test_the_platform_is_the_one_given_or_dockers_default_or_the_runtimes(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_DEFAULT_PLATFORM", "linux/arm/v6")
    assert request(settings).platform == Platform("linux", "arm", "v6")
    assert request(settings, "--platform", "arm64").platform == Platform("linux", "arm64")
    monkeypatch.setenv("DOCKER_DEFAULT_PLATFORM", "")
    assert request(settings).platform is None
    monkeypatch.delenv("DOCKER_DEFAULT_PLATFORM")
    assert request(settings).platform is None


def test_a_default_platform_that_is_none_is_refused_by_its_variables_name(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_DEFAULT_PLATFORM", "a b")
    with pytest.raises(InvalidArgument, match=r"DOCKER_DEFAULT_PLATFORM: platform 'a b'"):
        request(settings)


@pytest.mark.parametrize("words", [["--timing"], ["--trace", "t.json"], ["--events-fd", "3"], ["--lock", "run.lock"]])
def test_a_dry_run_has_nothing_to_time_or_to_lock(settings: dict[str, str], words: list[str]) -> None:
    with pytest.raises(InvalidArgument, match="--dry-run runs nothing"):
        check_combination(request(settings, "--dry-run", *words))
