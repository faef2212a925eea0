"""The grammar of the command line, environment and labels: what podman's bats suite expects of them.

Rows of expectations.md; 300 is ``test/system/300-cli-parsing.bats``, 620 ``620-option-conflicts.bats``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from running import refusal, refused, shown

if TYPE_CHECKING:
    from pathlib import Path

    from command import Prun

# Options of podman that docker has not, each with a value that podman takes: prun has none of them.
PODMANS = [
    "--runtime-flag=x", "--preserve-fd=9", "--rmi", "--conmon-pidfile=x", "--hostuser=root", "--group-entry=x",
    "--unsetenv-all", "--kernel-memory=100", "--systemd=always", "--read-only-tmpfs=false", "--replace",
    "--no-hostname", "--no-hosts", "--image-volume=tmpfs", "--cgroups=disabled", "--default-mounts-file=x",
]  # fmt: skip


@pytest.mark.parametrize("option", PODMANS)
def test_an_option_of_podman_alone_is_unknown_and_not_ignored(prun: Prun, option: str) -> None:
    """030.8, 18, 19, 54, 63, 68, 81, 85, 104, 106, 111; 160.36, 420.2, 620.2."""
    assert f"unknown flag: {option.partition('=')[0]} " in refused(prun, option, "busybox", "true")


def test_a_short_flag_without_its_value_is_named(prun: Prun) -> None:
    """300.2."""
    line = refusal(prun("run", "-h"))
    assert "flag needs an argument: -h" in line
    assert "prun run --help" in line


def test_an_unknown_command_is_refused(prun: Prun) -> None:
    """300.3."""
    assert "prun --help" in refusal(prun("bad", "--invalid"))


def test_quotes_in_a_label_are_text(prun: Prun) -> None:
    """300.1."""
    assert labels(prun, "--label", 'true="false"') == {"true": '"false"'}


def test_labels_come_from_files_and_the_later_wins(prun: Prun, tmp_path: Path) -> None:
    """300.9."""
    first, second = tmp_path / "labels-1,comma", tmp_path / "labels-2"
    first.write_text("simple=overridden\nfirst=1\n\n# not=one\n")
    expected = {
        "simple": "abc", "special": "bcd#e!f|g hij=lmnop", "quoted": '"with quotes"', "single": "'single'", "bare": "",
    }  # fmt: skip
    second.write_text("".join(f"{key}={value}\n" for key, value in expected.items() if value) + "bare\n")
    found = labels(prun, "--label-file", str(first), "--label-file", str(second))
    assert found == {"first": "1", **expected}
    assert labels(prun, "--label-file", str(first), "--label", "simple=flag")["simple"] == "flag"


def labels(prun: Prun, *options: str) -> dict[str, str]:
    assert prun("run", "--name", "labelled", *options, "busybox", "true").returncode == 0
    found: dict[str, str] = json.loads(prun("inspect", "labelled").stdout)[0]["Config"]["Labels"]
    assert prun("rm", "labelled").returncode == 0
    return found


def environment(prun: Prun, *options: str, **host: str) -> dict[str, str]:
    """What ``env -0`` of the container shows."""
    entries = shown(prun, *options, "busybox", "env", "-0", **host).split("\0")
    return dict(entry.split("=", 1) for entry in entries if entry)


def test_any_value_and_odd_names_can_be_set(prun: Prun) -> None:
    """300.4."""
    expected = {
        "simple": "abc", "special": "bcd#e!f|g hij=klmnop", "bell": "\a", "lines": "aaa\nbbb", "empty": "",
        "we.ird*na#me!?": "weird indeed",
    }  # fmt: skip
    options = [word for key, value in expected.items() for word in ("--env", f"{key}={value}")]
    found = environment(prun, *options, "-e", "short=short option")
    assert {key: found[key] for key in (*expected, "short")} == {**expected, "short": "short option"}


def test_env_files_are_taken_to_the_letter_and_the_later_wins(prun: Prun, tmp_path: Path) -> None:
    """300.5."""
    first, second = tmp_path / "env-1,comma", tmp_path / "env-2"
    expected = {
        "simple": "abc", "special": "bcd#e!f|g hij=lmnop", "bell": "\a", "quoted": '"with quotes"',
        "single": "'single'", "open": '"line1',
    }  # fmt: skip
    text = "second=overridden\nsimple=OVERRIDDEN\nsimple=AGAIN\n\n# comment=1\n"
    first.write_text(text + "".join(f"{key}={value}\n" for key, value in expected.items()))
    second.write_text("second=of the second\nweird*na#me!=star\n\n# comment=1\n")
    found = environment(prun, "--env-file", str(first), "--env-file", str(second))
    expected |= {"second": "of the second", "weird*na#me!": "star"}
    assert {key: found[key] for key in expected} == expected
    assert not [key for key in found if "comment" in key]


@pytest.mark.parametrize("by", ["option", "file"])
def test_a_star_at_the_end_takes_all_that_begin_so(prun: Prun, tmp_path: Path, by: str) -> None:
    """300.7, 300.8."""
    host = {f"pfx{end}": f"value {end}" for end in ("", "1", "a", "_", "_xyz", "CAPS_")}
    entries = ["pfx*", "NOT*DEFINED"]
    options = [word for entry in entries for word in ("--env", entry)]
    if by == "file":
        (tmp_path / "env").write_text("\n".join(entries))
        options = ["--env-file", str(tmp_path / "env")]
    found = environment(prun, *options, **host, PFX="in capitals", NOTREALLYDEFINED="no")
    assert {key: value for key, value in found.items() if key.lower().startswith(("pfx", "not"))} == host


def test_a_terminal_sets_term_unless_it_is_given(prun: Prun) -> None:
    """030.60."""
    assert "TERM" not in environment(prun, TERM="screen")
    assert shown(prun, "-t=true", "busybox", "sh", "-c", "echo $TERM") == "xterm\r\n"
    assert environment(prun, "-t=false", "-e", "TERM=foobar")["TERM"] == "foobar"
    assert shown(prun, "-t", "-e", "TERM=foobar", "busybox", "sh", "-c", "echo $TERM") == "foobar\r\n"


def test_a_variable_can_be_unset(prun: Prun) -> None:
    """030.62, 030.64: but for HOME, which the OCI runtimes set where it is missing."""
    lines = shown(prun, "--unsetenv=PATH", "--unsetenv=ABSENT", "-e", "OTHER=1", "busybox", "/bin/env").splitlines()
    assert {"OTHER=1", "HOME=/root"} <= set(lines)
    assert not [line for line in lines if line.startswith(("PATH=", "ABSENT"))]
    assert "TERM" not in shown(prun, "-t", "--unsetenv=TERM", "busybox", "env")
    assert environment(prun, "--unsetenv=X", "-e", "X=abc")["X"] == "abc"


def test_a_user_without_a_line_in_passwd_has_a_home(prun: Prun) -> None:
    """030.51."""
    assert environment(prun, "--user", "100")["HOME"] == "/"


@pytest.mark.parametrize("one", ["--cpu-period=1000", "--cpu-quota=1000"])
@pytest.mark.parametrize("turned", [False, True])
def test_cpus_are_limited_in_one_way_only(prun: Prun, one: str, turned: bool) -> None:
    """620.1."""
    options = [one, "--cpus=2"]
    line = refused(prun, *(reversed(options) if turned else options), "busybox", "true")
    assert one.partition("=")[0] in line
    assert "--cpus" in line
