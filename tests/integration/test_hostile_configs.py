"""Image configs that attack who runs them: what an image says of itself is data and never an instruction."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import tarfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from attack import BASE, Attack, refused
from images import directory, document, entry, file, put_image, put_index, symlink

if TYPE_CHECKING:
    from collections.abc import Callable

    from command import Prun


@pytest.fixture(scope="module")
def prun(new_prun: Callable[[], Prun]) -> Prun:
    return new_prun()


# Environment


def test_the_environment_is_never_completed_from_the_hosts(attack: Attack, binary: str) -> None:
    """CVE-2026-57231: podman 4.3.1 takes the value of a name without "=" from the host."""
    env = ["PATH=/bin", "HOST_SECRET", "=empty", "", "=", "A=1", "A=2", "B=x=y", "HOST_*", "C=a\nHOST_SECRET=no"]
    done = attack.run(binary, attack.image([], {"Env": env}), "env", HOST_SECRET="s3cr3t")
    assert done.returncode == 0, done.stderr
    assert "s3cr3t" not in done.stdout
    lines = sorted(line for line in done.stdout.splitlines() if not line.startswith("HOSTNAME="))
    assert lines == ["A=2", "B=x=y", "C=a", "HOME=/root", "HOST_SECRET=no", "PATH=/bin"]


def test_one_runs_environment_is_not_in_the_next(attack: Attack) -> None:
    """CVE-2021-21334."""
    image = attack.image()
    assert "ONE=1" in attack.run("runc", "-e", "ONE=1", image, "env").stdout
    assert "ONE" not in attack.run("runc", "-e", "TWO=2", image, "env").stdout


# User

PASSWD = b"""root:x:0:0:root:/root:/bin/sh
bob:x:1000:1000:bob:/home:/bin/sh
4294967296:x:0:0::/:/bin/sh
5000000000:x:0:0::/:/bin/sh
-1:x:0:0::/:/bin/sh
0x0:x:0:0::/:/bin/sh
1e3:x:0:0::/:/bin/sh
big:x:4294967296:4294967296::/:/bin/sh
negative:x:-1:-1::/:/bin/sh
hex:x:0x0:0::/:/bin/sh
empty:x:::/:/bin/sh
"""
GROUP = b"root:x:0:\nbob:x:1000:\naudio:x:29:bob\nbig:x:4294967296:bob\nnegative:x:-5:bob\n1000:x:0:\n"


@pytest.mark.parametrize(
    "user", ["4294967296", "5000000000", "4294967295", "2147483648", "18446744073709551616", "-1", "0x0", "1e3",
             "root:", ":0", ":", "0:", "a:b:c", "+0", " 0", "0 ", "٣", "root\n", "big", "negative", "hex", "empty",
             "nobody", "0:4294967296", "0:big", "0:-5", "x" * 1_000_000, "0" * 1_000_000],
    ids=lambda user: repr(user[:20]),
)  # fmt: skip
def test_no_bad_user_becomes_root(attack: Attack, user: str) -> None:
    """CVE-2024-40635, CVE-2026-46680: digits are a number, however big, and never a name of the image."""
    image = attack.image([file("etc/passwd", PASSWD), file("etc/group", GROUP)], {"User": user})
    done = attack.run("runc", image, "id", "-u")
    assert refused(done)
    assert len(done.stderr) < 5_000_000


@pytest.mark.parametrize(
    ("user", "uid", "groups"),
    [("bob", "1000", "1000 29"), ("1000", "1000", "1000 29"), ("1000:1000", "1000", "1000"), ("bob:root", "1000", "0"),
     ("1001", "1001", "0"), ("2147483647:2147483647", "2147483647", "2147483647")],
)  # fmt: skip
def test_a_user_has_the_images_groups_and_no_capability(
    attack: Attack, binary: str, user: str, uid: str, groups: str
) -> None:
    """CVE-2023-25173 (groups), CVE-2022-24769 (inheritable capabilities)."""
    image = attack.image([file("etc/passwd", PASSWD), file("etc/group", GROUP)], {"User": user})
    done = attack.run(binary, image, "sh", "-c", "id -u; id -G; grep -E '^Cap(Inh|Prm|Eff|Amb)' /proc/self/status")
    lines = done.stdout.splitlines()
    assert (lines[0], lines[1]) == (uid, groups), done.stderr
    assert {line.split()[1] for line in lines[2:]} == {"0" * 16}


@pytest.mark.parametrize("name", ["etc/passwd", "etc/group"])
@pytest.mark.parametrize(
    "kind", ["fifo", "socket of the host", "host link", "relative host link", "device", "2 MiB", "junk", "directory"]
)
def test_an_odd_account_file_gives_a_quick_answer_and_no_host_user(attack: Attack, name: str, kind: str) -> None:
    """CVE-2024-9676, CVE-2026-47262; podman 4.3.1 hangs on a FIFO."""
    content = PASSWD + b"evil:x:0:0::/:/bin/sh\n" if name == "etc/passwd" else b"evil:x:0:bob\n"
    (attack.victim / "accounts").write_bytes(content)
    up = "../../../../../../../../../.."
    odd = {
        "fifo": entry(name, tarfile.FIFOTYPE),
        "socket of the host": symlink(name, "/run/udev/control"),
        "host link": symlink(name, str(attack.victim / "accounts")),
        "relative host link": symlink(name, up + str(attack.victim / "accounts")),
        "device": entry(name, tarfile.CHRTYPE, devmajor=1, devminor=5),
        "2 MiB": file(name, b"#" * (2 << 20) + b"\n" + content),
        "junk": file(name, os.urandom(1 << 16) + b"\0:0:0:0\n:::::\n" + bytes(range(256))),
        "directory": directory(name),
    }[kind]
    other = file("etc/group", GROUP) if name == "etc/passwd" else file("etc/passwd", PASSWD)
    image = attack.image([other, odd], {"User": "evil" if name == "etc/passwd" else "bob:evil"})
    began = time.monotonic()
    done = attack.run("runc", image, "id", "-u")
    assert time.monotonic() - began < 2
    assert refused(done)
    (attack.victim / "accounts").unlink()


# What is no instruction


def test_labels_annotations_and_the_rest_change_nothing(attack: Attack, binary: str) -> None:
    """CVE-2025-24965 (run.oci.handler), CVE-2026-53488; volumes are in test_hostile_surface.py and test_volumes.py."""
    traps = {"run.oci.handler": "krun", "run.oci.hooks.stderr": "/x", "org.criu.config": "/x",
             "org.opencontainers.image.stopSignal": "9"}  # fmt: skip
    config = {
        "Labels": traps,
        "StopSignal": "9; reboot", "ExposedPorts": {"1/../../x": {}}, "Healthcheck": {"Test": ["CMD", "touch", "/x"]},
        "Shell": ["/bin/evil"], "OnBuild": ["RUN evil"], "ArgsEscaped": True, "Hostname": "evil", "Domainname": "evil",
        "NetworkDisabled": False, "AttachStdin": True, "Tty": True, "OpenStdin": True,
    }  # fmt: skip
    image = attack.image([symlink("out", str(attack.victim)), file("etc/hostname", b"evil\n")], config)
    path = image.split(":")[1]
    index = json.loads(Path(path, "index.json").read_text())
    index["manifests"][0]["annotations"] |= traps
    index["annotations"] = traps
    Path(path, "index.json").write_bytes(document(index))
    plain = json.loads(attack.prun("spec", "--id", "same", attack.image()).stdout)
    assert json.loads(attack.prun("spec", "--id", "same", image).stdout) == plain
    assert "annotations" not in plain
    done = attack.run(binary, image, "sh", "-c", "test -t 0 || echo no-tty; ls /x /out/; hostname")
    assert done.stdout.splitlines()[0] == "no-tty"
    assert "evil" not in done.stdout


def test_a_hundred_thousand_volumes_are_refused_at_once(attack: Attack) -> None:
    image = attack.image([], {"Volumes": {f"/v{n}": {} for n in range(100_000)}})
    began = time.monotonic()
    assert refused(attack.run("runc", image), "volumes")
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("name", ["Cmd", "Entrypoint"])
@pytest.mark.parametrize(
    "value",
    ["sh", {"a": 1}, 5, True, [1], [["sh"]], [None], [{}], ["a\0b"], [""], ["x" * (10 << 20)], ["y"] * 200_000],
    ids=str.split("string object number boolean numbers lists nulls objects nul empty long many"),
)  # fmt: skip
def test_a_command_of_the_wrong_shape_is_refused(attack: Attack, name: str, value: object) -> None:
    assert refused(attack.run("runc", attack.image([], {name: value})))


@pytest.mark.parametrize(
    "config",
    [{"Env": {"A": "b"}}, {"Env": [1]}, {"Env": ["A=\0"]}, {"Env": ["A=\ud800"]}, {"User": 0}, {"User": ["root"]},
     {"User": "a\0b"}, {"WorkingDir": 5}, {"WorkingDir": "/a\0b"}, {"Labels": []}, {"Labels": {"a": 1}},
     {"Volumes": ["/x"]}, {"StopSignal": 9}, {"ExposedPorts": []}],
    ids=lambda config: ascii(config),
)  # fmt: skip
def test_a_config_of_the_wrong_shape_is_refused(attack: Attack, config: dict[str, Any]) -> None:
    assert refused(attack.run("runc", attack.image([], config)), "image config")


def test_a_word_that_execve_cannot_take_is_126(attack: Attack, binary: str) -> None:
    for config in ({"Cmd": ["echo", "x" * 200_000]}, {"Env": ["PATH=/bin", "A=" + "x" * 200_000]}):
        done = attack.run(binary, attack.image([], config))
        assert (done.returncode, done.stderr.count("\n")) == (126, 1)


# The terminal of who looks

ESCAPE = "\x1b]0;owned\x07\x9b31m\u202e\r"


def on_a_terminal(words: list[str]) -> bytes:
    """Everything that a command writes to its terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        seen = b""
        with suppress(OSError):  # EIO: the last writer has gone
            while chunk := os.read(ours, 1 << 16):
                seen += chunk
    os.close(ours)
    assert process.returncode is not None
    return seen


def test_untrusted_words_do_not_steer_a_terminal(attack: Attack) -> None:
    """CWE-150: labels, names, commands, archives and error messages."""
    config = {
        "Labels": {f"k{ESCAPE}": f"v{ESCAPE}"},
        "Cmd": ["sh", "-c", ":", ESCAPE],
        "Env": ["PATH=/bin", f"E={ESCAPE}"],
    }
    image = attack.image([], config)
    assert attack.prun("load", "--tag", "steering", image).returncode == 0
    assert attack.prun("run", "--name", "steering", "-l", f"l={ESCAPE}", "steering").returncode == 0
    named = attack.images / "named"
    target = put_image(named, [BASE], {}, "none")
    put_index(named, [{**target, "annotations": {"org.opencontainers.image.ref.name": f"localhost/{ESCAPE}:x"}}])
    odd = attack.image([file(f"d{ESCAPE}")], {"WorkingDir": f"/d{ESCAPE.strip()}", "User": ESCAPE})
    for words in (
        ["images"], ["images", "--format", "json"], ["inspect", "steering"], ["inspect", "--type", "image", "steering"],
        ["ps", "-a"], ["ps", "-a", "--no-trunc"], ["ps", "-a", "--format", "json"], ["spec", "steering"],
        ["ps", "-a", "--format", "{{.Command}}{{.Labels}}{{range $k, $v := .Labels}}{{$k}}{{$v}}{{end}}"],
        ["ps", "-a", "--format", "table {{.Command}}\\t{{.Labels}}\\t{{json .Labels}}"],
        ["images", "--format", "{{.Name}}"],
        ["inspect", "-f", "{{.Config.Labels}}{{.Config.Cmd}}{{println .Args}}{{printf `%s` .Config.Env}}", "steering"],
        ["load", f"oci:{named}"], ["load", f"oci:{named}:{ESCAPE}"], ["run", "--rm", f"oci:{named}"],
        ["run", "--rm", odd], ["--error-format", "json", "run", "--rm", odd], ["run", "--rm", "steering", ESCAPE],
        ["run", "--rm", f"nope{ESCAPE}"], ["run", "--rm", "--name", ESCAPE, "steering"], ["rmi", ESCAPE],
        ["--debug", "run", "--rm", odd], ["--debug", "rmi", f"nope{ESCAPE}"],
    ):  # fmt: skip
        seen = on_a_terminal([*attack.prun.words, *words])
        assert seen, words
        for bad in ("\x1b", "\x07", "\x9b", "\u202e"):
            assert bad.encode() not in seen, (words, seen)
        assert not seen.replace(b"\r\n", b"").count(b"\r"), (words, seen)
    assert attack.prun("rm", "steering").returncode == 0
