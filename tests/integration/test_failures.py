"""Images that cannot run: the look into the root says why before anything is created; without it, the errno does.

All share one layer; each is an image of its own, with what its config says.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from images import busybox_layer, directory, file, layer_tar, oci_layout, symlink

from prun import Runner
from prun.errors import PrunError

if TYPE_CHECKING:
    from command import Prun

NATIVE = Path("/bin/busybox").read_bytes()  # static
DYNAMIC = Path("/bin/ls").read_bytes()
OTHER_MACHINE = 8  # mips


def patched(program: bytes, at: int, value: int) -> bytes:
    return program[:at] + value.to_bytes(2, "little") + program[at + 2 :]


def broken_layer() -> bytes:
    programs = {
        "nox": None, "script": b"#!/bin/sh\nexit 7\n", "plain": b"echo hi\n", "nointerp": b"#!/bin/bash\n",
        "empty": b"",
        "noname": b"#!\n", "crlf": b"#!/bin/sh\r\necho hi\r\n", "envcrlf": b"#!/bin/env sh\r\n",
        "envmissing": b"#!/bin/env python3\n", "envwords": b"#!/bin/env sh -e\n", "relative": b"#!opt/sh\n",
        "chain": b"#!/opt/nointerp\n", "loop": b"#!/opt/loop\n", "xless": b"#!/opt/nox\n", "dirscript": b"#!/opt\n",
        "dynamic": DYNAMIC, "foreign": patched(NATIVE, 18, OTHER_MACHINE), "object": patched(NATIVE, 16, 1),
        "cut": NATIVE[:30], "image.png": b"\x89PNG\r\n\x1a\n", "utf16": "#!/bin/sh\n".encode("utf-16"),
        "bom": b"\xef\xbb\xbf#!/bin/sh\n", "foreignscript": b"#!/opt/foreign\n", "windows.exe": b"MZ\x90\0",
    }  # fmt: skip
    return layer_tar(
        [
            directory("opt"),
            directory("closed", mode=0o700),
            file("closed/script", b"#!/bin/sh\n", mode=0o755),
            file("opt/mine", b"#!/bin/sh\n", mode=0o700),
            *(file(f"opt/{name}", b"#!/bin/sh\n" if data is None else data, mode=0o755 if data is not None else 0o644)
              for name, data in programs.items()),
            symlink("opt/dangling", "/no/such"),
            symlink("opt/round", "round"),
        ]
    )  # fmt: skip


class Broken(NamedTuple):
    """An image's config, and what is said: words of cause, evidence and remedy; the exit codes with and without."""

    config: dict[str, Any]
    code: int
    words: tuple[str, str, str]
    without: int
    errno: str = ""


def cmd(*words: str, **more: Any) -> dict[str, Any]:
    return {"Cmd": list(words), **more}


TABLE = {
    "missing in PATH": Broken(cmd("nosuch"), 127, ("not in the container's PATH", "PATH is /usr", "PATH with -e"), 127),
    "missing": Broken(cmd("/opt/nosuch"), 127, ("not in the container", "/opt has no nosuch", "image"), 127, "ENOENT"),
    "missing directory": Broken(cmd("/a/b/c"), 127, ("not in the container", "/ has no a", "image"), 127, "ENOENT"),
    "below a file": Broken(cmd("/opt/script/x"), 127, ("not in", "/opt/script is no directory", ""), 127, "ENOTDIR"),
    "relative": Broken(cmd("./script"), 127, ("not in", "/ has no script", "working directory, / (-w)"), 127, "ENOENT"),
    "a line of the shell": Broken(cmd("echo hi"), 127, ("'echo hi' is not", "PATH", "sh -c 'echo hi'"), 127),
    "a word of the shell": Broken(cmd("cd", "/"), 127, ("'cd' is not", "PATH is", "a word of the shell"), 127),
    "dangling link": Broken(cmd("/opt/dangling"), 127, ("not in", "leads to /no/such", ""), 127, "ENOENT"),
    "no x bit": Broken(cmd("/opt/nox"), 126, ("mode 0644, uid 0", "EACCES", "chmod +x /opt/nox"), 126, "EACCES"),
    "no x bit in PATH": Broken(
        cmd("nox", Env=["PATH=/opt"]), 127, ("not in the container's PATH", "/opt/nox cannot be", "chmod +x /opt/nox"),
        127
    ),
    "another's": Broken(cmd("/opt/mine", User="bob"), 126, ("uid 1000", "0:0", "choose another user"), 126, "EACCES"),
    "closed directory": Broken(
        cmd("/closed/script", User="bob"), 126, ("directory /closed", "mode 0700", "another user"), 126, "EACCES"
    ),
    "a directory": Broken(cmd("/opt"), 126, ("it is a directory", "EACCES", "name a program in it"), 126, "EACCES"),
    "no first line": Broken(
        cmd("/opt/plain"), 126, ("exec format", "begins with 'echo hi", "#!/bin/sh"), 126, "ENOEXEC"
    ),
    "empty": Broken(cmd("/opt/empty"), 126, ("exec format error", "it is empty", "#!/bin/sh"), 126, "ENOEXEC"),
    "no program": Broken(cmd("/opt/image.png"), 126, ("exec format error", "PNG", ""), 126, "ENOEXEC"),
    "windows program": Broken(cmd("/opt/windows.exe"), 126, ("exec format error", "'MZ", ""), 126, "ENOEXEC"),
    "byte order mark": Broken(
        cmd("/opt/bom"), 126, ("exec format error", r"\xef\xbb\xbf#!", "#!/bin/sh"), 126, "ENOEXEC"
    ),
    "utf-16": Broken(cmd("/opt/utf16"), 126, ("exec format error", r"\xff\xfe#\x00", ""), 126, "ENOEXEC"),
    "nameless first line": Broken(cmd("/opt/noname"), 126, ("names no interpreter", "'#!'", "path"), 126, "ENOEXEC"),
    "no interpreter": Broken(
        cmd("/opt/nointerp"), 126, ("'/bin/bash' is missing", "'#!/bin/bash'", "install it"), 126, "ENOENT"
    ),
    "relative interpreter": Broken(cmd("/opt/relative"), 126, ("'opt/sh' is missing", "ENOENT", ""), 126, "ENOENT"),
    "interpreter's interpreter": Broken(
        cmd("/opt/chain"), 126, ("'/opt/nointerp': its interpreter '/bin/bash'", "begins", ""), 126, "ENOENT"
    ),
    "its own interpreter": Broken(cmd("/opt/loop"), 126, ("too many in a row", "ELOOP", "program"), 126, "ELOOP"),
    "interpreter without x": Broken(
        cmd("/opt/xless"), 126, ("'/opt/nox': permission denied", "0:0", "chmod"), 126, "EACCES"
    ),
    "interpreter a directory": Broken(cmd("/opt/dirscript"), 126, ("it is a directory", "EACCES", ""), 126, "EACCES"),
    "CR LF": Broken(cmd("/opt/crlf"), 126, ("ends in CR LF", r"'#!/bin/sh\r'", "sed -i 's/"), 126, "ENOENT"),
    "CR LF after env": Broken(cmd("/opt/envcrlf"), 126, (r"'sh\r': its first line ends in CR LF", "env", "sed"), 127),
    "missing for env": Broken(
        cmd("/opt/envmissing"), 126, ("env would not find its interpreter 'python3'", "PATH", "install python3"), 127
    ),
    "words for env": Broken(cmd("/opt/envwords"), 126, ("all of it as one word", "sh -e'", "env -S"), 127),
    "no loader": Broken(cmd("/opt/dynamic"), 126, ("is missing", "(PT_INTERP)", "statically"), 126, "ENOENT"),
    "another machine": Broken(
        cmd("/opt/foreign"), 126, ("another architecture", "for mips", "--platform"), 126, "ENOEXEC"
    ),
    "interpreter of another machine": Broken(
        cmd("/opt/foreignscript"), 126, ("'/opt/foreign': exec format error", "for mips", "--platform"), 126, "ENOEXEC"
    ),
    "an object file": Broken(cmd("/opt/object"), 126, ("no program", "e_type 1", "not linked"), 126, "ENOEXEC"),
    "cut off": Broken(cmd("/opt/cut"), 126, ("no program", "30 bytes", "cut off"), 126, "ENOEXEC"),
    "no such user": Broken(
        cmd("true", User="nobody"), 125, ("user 'nobody' is not in", "it has root, bob", "numeric id"), 125
    ),
    "no such group": Broken(
        cmd("true", User="bob:wheel"), 125, ("group 'wheel' is not in", "it has root, bob, audio", "numeric"), 125
    ),
    "cwd is a file": Broken(
        cmd("true", WorkingDir="/opt/script"), 125, ("'/opt/script' is no directory", "ENOTDIR", "-w"), 125
    ),
    "cwd below a file": Broken(
        cmd("true", WorkingDir="/opt/script/x"), 125, ("/opt/script is no directory", "ENOTDIR", "-w"), 125
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    layers = [busybox_layer(), layer_tar([symlink("bin/env", "busybox")]), broken_layer()]
    base = tmp_path_factory.mktemp("broken")
    found = {}
    for number, (name, broken) in enumerate(TABLE.items()):
        config = {"Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], **broken.config}
        oci_layout(base / str(number), layers, config, compression="none")
        found[name] = f"oci:{base / str(number)}"
    return found


@pytest.fixture
def runner(prun: Prun) -> Runner:
    return Runner(root=str(prun.root), state=str(prun.state), plugins=[])


@pytest.mark.parametrize("name", TABLE)
def test_a_broken_image_is_explained_before_anything_is_created(
    name: str, runner: Runner, layouts: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, called = TABLE[name], list[str]()
    monkeypatch.setattr("prun_linux.oci.OciRuntime.spawn", lambda *_, **__: called.append("the OCI runtime"))
    with pytest.raises(PrunError) as caught:
        runner.run(layouts[name])
    error = caught.value
    assert called == []
    assert error.exit_code == broken.code
    for word, field in zip(broken.words, (str(error), error.evidence, error.hint), strict=True):
        assert word in field
    assert error.stage in ("spec", "create")


def test_the_table_has_thirty_images_and_more() -> None:
    assert len(TABLE) >= 30


@pytest.mark.parametrize("name", [name for name in TABLE if TABLE[name].code != 125])
def test_without_the_look_the_errno_decides(name: str, runner: Runner, layouts: dict[str, str]) -> None:
    broken = TABLE[name]
    if broken.without != broken.code:  # env was executed, and has told by itself what it misses
        assert runner.run(layouts[name], precheck=False).exit_code == broken.without
        return
    with pytest.raises(PrunError) as caught:
        runner.run(layouts[name], precheck=False)
    error = caught.value
    assert error.exit_code == broken.without
    assert error.stage in ("create", "start")
    assert f"({broken.errno})" in error.evidence or not broken.errno


def test_the_command_says_all_of_it_in_one_line_of_json(prun: Prun, layouts: dict[str, str]) -> None:
    done = prun("--error-format", "json", "run", "--rm", layouts["CR LF"])
    assert done.returncode == 126
    assert json.loads(done.stderr) == {
        "error": "CommandNotInvocable", "stage": "create", "plugin": "runtime prun_linux", "exit_code": 126,
        "cause": r"command '/opt/crlf' cannot be executed: its interpreter '/bin/sh\r' is missing: its first line ends "
        "in CR LF",
        "evidence": r"/opt/crlf begins with '#!/bin/sh\r' (ENOENT)",
        "remedy": r"take the carriage returns away: sed -i 's/\r$//' /opt/crlf",
    }  # fmt: skip


def test_the_look_is_taken_detached_and_at_a_later_start_too(prun: Prun, layouts: dict[str, str]) -> None:
    detached = prun("run", "-d", "--rm", layouts["CR LF"])
    assert (detached.returncode, detached.stdout) == (126, "")
    assert "ends in CR LF" in detached.stderr
    # The command may come with `prun cp` before the start, so that create refuses nothing.
    created = prun("create", "--name", "later", layouts["missing"])
    assert created.returncode == 0, created.stderr
    started = prun("start", "later")
    assert (started.returncode, "/opt has no nosuch" in started.stderr) == (127, True), started.stderr
    assert prun("cp", "/bin/busybox", "later:/opt/nosuch").returncode == 0
    assert prun("start", "-a", "later").returncode == 127  # busybox knows no applet of that name


def test_what_the_look_cannot_see_is_left_to_the_kernel(prun: Prun, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/mnt/busybox sh\nexit 9\n")
    script.chmod(0o755)
    (tmp_path / "busybox").write_bytes(NATIVE)
    (tmp_path / "busybox").chmod(0o755)
    assert prun("run", "--rm", "-v", f"{tmp_path}:/mnt", "busybox", "/mnt/script").returncode == 9
    assert prun("run", "--rm", "-v", f"{tmp_path}:/mnt", "-e", "PATH=/mnt", "busybox", "script").returncode == 9
    assert prun("run", "--rm", "-v", f"{tmp_path}:/mnt", "-w", "/mnt", "busybox", "./script").returncode == 9
    assert prun("run", "--rm", "--precheck=false", "busybox", "sh", "-c", "exit 1").returncode == 1


def test_a_command_that_is_killed_before_it_runs_has_the_status_of_the_signal(prun: Prun) -> None:
    assert prun("run", "--rm", "--precheck=false", "--timeout", "0.2", "busybox", "sleep", "9").returncode == 137
