"""``prun explain``, ``spec --explain``, ``--patch`` and ``--hook`` as a user has them; docs/explain.md runs."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command import bad, good

if TYPE_CHECKING:
    from collections.abc import Callable

    from command import Prun

PAGE = (Path(__file__).parents[2] / "docs" / "explain.md").read_text()


def on_a_terminal(prun: Prun, columns: int, *words: str) -> list[str]:
    """Return the lines that a command writes to a terminal of so many columns."""
    master, slave = pty.openpty()
    import fcntl
    import struct
    import termios

    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen([*prun.words, *words], stdout=slave, stdin=subprocess.DEVNULL)
    os.close(slave)
    written = b""
    while True:
        try:
            data = os.read(master, 1 << 16)
        except OSError:  # EIO: the other end is closed
            break
        if not data:
            break
        written += data
    os.close(master)
    assert process.wait() == 0
    return written.decode().split("\r\n")


def test_of_a_run_that_asked_it_is_kept_and_goes_with_the_container(prun: Prun) -> None:
    words = ("--explain", "--read-only", "-m", "64m", "-v", "/etc:/host/etc:ro", "busybox", "true")
    good(prun("run", "--name", "why", *words))
    text = good(prun("explain", "why", "/root/readonly"))
    assert re.fullmatch(
        r"/root/readonly\n  flag with_readonly_root \(prun.builtin.flags:\d+\)  <- --read-only\n +true\n", text
    )
    document = json.loads(good(prun("explain", "--last", "--format", "json")))
    assert document["source"] == "recorded"
    values = {field["pointer"]: field["value"] for field in document["fields"]}
    assert values["/linux/resources/memory/limit"] == 64 << 20
    assert all(field["chain"][-1]["new"] == field["value"] for field in document["fields"])
    container = document["container"]
    assert (prun.root / "containers" / container / "explain.json").stat().st_mode & 0o777 == 0o600
    assert "/mounts/" in good(prun("explain", "why"))
    good(prun("start", "-a", "why"))
    assert json.loads(good(prun("explain", "--last", "--format", "json")))["source"] == "recorded"
    good(prun("rm", "why"))
    assert not (prun.root / "containers" / container).exists()
    assert "no such container" in bad(prun("explain", "why"))


def test_of_any_other_it_is_built_again_and_compared(prun: Prun) -> None:
    container = good(prun("run", "-d", "--name", "plain", "busybox", "sleep", "100")).strip()
    document = json.loads(good(prun("explain", "plain", "--format", "json", "/process/args")))
    assert (document["source"], document["differences"]) == ("rebuilt", [])
    path = prun.state / "bundles" / container / "config.json"
    spec = json.loads(path.read_text())
    spec["hostname"] = "other"
    path.write_text(json.dumps(spec))
    done = prun("explain", "plain", "/hostname")
    assert done.stdout.startswith("# rebuilt from what the container was made of, and compared")
    assert '/hostname is "other" in the container' in done.stderr
    good(prun("kill", "plain"))
    good(prun("wait", "plain"))
    assert "whose config.json is gone" in good(prun("explain", "plain", "/hostname"))


def test_of_one_of_which_nothing_is_kept_the_error_says_what_to_do(prun: Prun) -> None:
    good(prun("run", "--name", "fake", "--runtime", "fake", "scratch", "true"))
    assert "--explain" in bad(prun("explain", "fake"))
    wrong = bad(prun("spec", "--format", "json", "scratch", "true"))
    assert "--format is for --explain" in wrong
    for words, said in (
        (("explain",), "CONTAINER is missing"),
        (("explain", "fake", "root"), "no JSON pointer"),
        (("explain", "--last", "/a", "/b"), "one word too many"),
    ):
        assert said in bad(prun(*words))
    good(prun("run", "--explain", "--name", "fake2", "--runtime", "fake", "scratch", "true"))
    assert "there is /process" in bad(prun("explain", "fake2", "/proces/args"))


def test_on_a_narrow_terminal_lines_are_cut_and_in_a_pipe_nothing_is(prun: Prun) -> None:
    words = ("spec", "--explain", "busybox", "true")
    narrow = on_a_terminal(prun, 40, *words)
    assert any(line.startswith("\x1b[1m/process/args") for line in narrow)
    plain = [re.sub("\x1b\\[[0-9]m", "", line) for line in narrow]
    assert max(map(len, plain)) == 40
    assert any(line.endswith("...") for line in plain)
    piped = good(prun(*words))
    assert "\x1b" not in piped
    assert max(map(len, piped.splitlines())) > 1000


def test_an_image_cannot_steer_the_terminal(prun: Prun, tmp_path: Path) -> None:
    out = good(prun("spec", "--explain", "-e", "A=\x1b]0;owned\x07", "--annotation", "\x1b[2J=x", "busybox", "true"))
    assert "\x1b" not in out
    assert "\x07" not in out


def test_what_loosens_is_said_and_refused_under_the_policy(prun: Prun, tmp_path: Path) -> None:
    words = (
        "run",
        "--rm",
        "--patch",
        "/process/noNewPrivileges=false",
        "busybox",
        "grep",
        "NoNewPrivs",
        "/proc/1/status",
    )
    done = prun(*words)
    assert done.stdout.split() == ["NoNewPrivs:", "0"]
    assert done.stderr == "prun: warning: --patch: lets the process gain privileges (/process/noNewPrivileges)\n"
    config = tmp_path / "prun.toml"
    config.write_text("[plugins.no-loosening]\n")
    refused = prun("--config", str(config), *words, PRUN_PLUGINS="")
    assert (refused.returncode, refused.stdout) == (125, "")
    assert "[plugins.no-loosening]" in refused.stderr


def test_a_profile_patches_and_its_line_is_named(prun: Prun, tmp_path: Path) -> None:
    config = tmp_path / "prun.toml"
    config.write_text("[profiles.web]\nread-only = true\npatch = ['/hostname=\"web\"']\n")
    done = prun("--config", str(config), "spec", "--explain", "--profile", "web", "busybox", "true")
    text = good(done)
    for pointer in ("/hostname", "/root/readonly"):
        block = re.search(rf"^{pointer}\n((?:  .*\n)+)", text, re.M)
        assert block
        assert re.search(rf"<- \[profiles.web\] \({config}:\d\)", block[1]), block[1]


def test_a_hook_file_acts_on_a_run_and_on_its_next_start(prun: Prun, tmp_path: Path) -> None:
    hook = tmp_path / "site.py"
    hook.write_text(
        "from prun import hookimpl\nfrom prun.spec import with_env\n\n"
        "@hookimpl\ndef prun_spec_opts():\n    return [with_env(['SITE=1'])]\n"
    )
    assert good(prun("run", "--name", "hooked", "--hook", str(hook), "busybox", "sh", "-c", "echo $SITE")) == "1\n"
    assert "hook site.py with_env (site:6)  <- --hook" in good(prun("explain", "hooked"))
    hook.write_text(hook.read_text().replace("SITE=1", "SITE=2"))
    assert good(prun("start", "-a", "hooked")) == "2\n"
    hook.chmod(0o666)
    assert "is not executed as root" in bad(prun("start", "-a", "hooked"))


EXAMPLES = re.findall(r"^    \$ (prun .*)\n((?:    .*\n)+)", PAGE, re.M)


@pytest.mark.parametrize(("line", "shown"), EXAMPLES, ids=[line for line, _ in EXAMPLES])
def test_the_examples_of_the_page_say_what_it_says(line: str, shown: str, new_prun: Callable[[], Prun]) -> None:
    out = good(new_prun()(*line.split()[1:]))
    for part in re.split(r"^    \.\.\.\n", shown, flags=re.M):
        wanted = re.sub(r"^    ", "", part, flags=re.M).strip("\n")
        assert re.sub(r":\d+\)", ":N)", wanted) in re.sub(r":\d+\)", ":N)", out)


def test_the_commands_of_the_page_run(prun: Prun, tmp_path: Path) -> None:
    (tmp_path / "tighter.json").write_text('{"linux": {"readonlyPaths": ["/proc", "/sys"]}}')
    commands = re.findall(r"^    (prun run .*)$", PAGE, re.M)
    assert len(commands) == 2
    import shlex

    for command in commands:
        words = [word.replace("tighter.json", str(tmp_path / "tighter.json")) for word in shlex.split(command)[1:]]
        assert prun(*words).returncode == 0
