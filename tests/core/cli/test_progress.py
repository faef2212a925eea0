"""What is said of an image that is pulled or pushed: lines, JSON lines, bars; nothing that steers a terminal."""

from __future__ import annotations

import json

import pytest

from prun.cli.progress import shown
from prun.image.registry.progress import Progress, Reporter

DIGEST = "sha256:" + "0123456789ab" + "0" * 52
NEWS = [
    Progress("resolved", detail="docker.io/library/a:1"),
    Progress("downloading", DIGEST, 1, 3_000_000),
    Progress("downloading", DIGEST, 2_000_000, 3_000_000),
    Progress("retrying", DIGEST, detail="it \x1b]0;broke\x07 off"),
    Progress("downloaded", DIGEST, 3_000_000, 3_000_000),
    Progress("exists", DIGEST, 3, 3),
    Progress("mounted", DIGEST, 3, 3, "other/app"),
    Progress("warning", detail="beware"),
    Progress("done", DIGEST, detail="Downloaded newer image for docker.io/library/a:1"),
]


def said(form: str, capsys: pytest.CaptureFixture[str], *, quiet: bool = False) -> list[str]:
    with shown(form, quiet=quiet) as listener:
        for each in NEWS if listener else ():
            assert listener is not None
            listener(each)
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


@pytest.mark.parametrize("form", ["auto", "plain"])
def test_a_line_for_every_change(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(form, capsys) == [
        "Pulling docker.io/library/a:1",
        "0123456789ab: downloading 3MB",
        r"0123456789ab: it \x1b]0;broke\x07 off",
        "0123456789ab: download complete",
        "0123456789ab: already exists",
        "0123456789ab: mounted from other/app",
        "warning: beware",
        "Downloaded newer image for docker.io/library/a:1",
        f"Digest: {DIGEST}",
    ]


def test_json_lines_have_everything(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [json.loads(line) for line in said("json", capsys)]
    assert len(lines) == len(NEWS)
    assert lines[1] == {"status": "downloading", "digest": DIGEST, "current": 1, "total": 3_000_000}
    assert lines[7] == {"status": "warning", "detail": "beware"}


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    assert said("json", capsys, quiet=True) == []


def test_of_bytes_nobody_hears_more_than_he_can_read() -> None:
    heard: list[Progress] = []
    report = Reporter(heard.append)
    for current in range(10_000):
        report("downloading", DIGEST, current, 10_000)
    report("downloaded", DIGEST, 10_000, 10_000)
    assert 2 <= len(heard) < 100
    assert heard[-1].status == "downloaded"
