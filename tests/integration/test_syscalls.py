"""What a run executes and where it writes, as the kernel sees it (strace)."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

    from command import Prun

WRITES = "creat,link,linkat,mkdir,mkdirat,mknod,mknodat,openat,rename,renameat,renameat2,rmdir,symlink,unlink,unlinkat"
FORKS = ("clone", "clone3", "fork", "vfork")
LINE = re.compile(r"^(?P<pid>\d+) +(?:<\.\.\. )?(?P<name>\w+)(?:\(| resumed)(?P<words>.*?)(?: = (?P<result>-?\d+).*)?$")


class Call(NamedTuple):
    """A system call that succeeded; ``own``: of prun, its threads, and its children up to their execve."""

    name: str
    words: str
    own: bool


def calls(prun: Prun, trace: Path, *words: str) -> list[Call]:
    """Run a command under strace, and return the calls of all processes in their order."""
    kinds = ",".join(("execve", *FORKS, WRITES))
    strace = ["strace", "-f", "-qq", "-y", "-s", "4096", "-o", str(trace), "-e", f"trace={kinds}"]
    done = subprocess.run([*strace, *prun.words, *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found: list[Call] = []
    foreign: dict[str, bool] = {}
    for line in trace.read_text(errors="replace").splitlines():
        match = LINE.match(line)
        if match is None or (match["result"] or "0").startswith("-"):
            continue
        own = not foreign.setdefault(match["pid"], False)
        if match["name"] in FORKS and match["result"]:
            foreign[match["result"]] = not own
        if match["name"] == "execve":
            foreign[match["pid"]] = bool(found)
            if '"' not in match["words"]:
                continue  # the end of a call whose beginning was seen
        found.append(Call(match["name"], match["words"], own))
    return found


def test_a_run_executes_the_oci_runtime_and_nothing_else(prun: Prun, tmp_path: Path) -> None:
    found = calls(prun, tmp_path / "trace", "run", "--rm", "busybox", "true")
    executed = [call.words.split('"')[1] for call in found if call.name == "execve"]
    assert executed[0] == prun.words[0]
    own = {word for word in executed[1:] if "/bin/true" not in word}
    # runc executes itself again, from a sealed copy of its binary.
    assert own <= {"/usr/sbin/runc", "/proc/self/exe", "/proc/self/fd/6", "/proc/self/fd/7"}, own


def test_prun_itself_writes_to_its_own_directories_only(prun: Prun, tmp_path: Path) -> None:
    found = calls(prun, tmp_path / "trace", "run", "--rm", "-v", "named:/data", "busybox", "touch", "/data/x", "/x")
    written = [
        call.words
        for call in found
        if call.own and call.name in WRITES.split(",")
        and (call.name != "openat" or re.search(r"O_(WRONLY|RDWR|CREAT|TRUNC)", call.words))
    ]  # fmt: skip
    places = (str(prun.root), str(prun.state), "/dev/null", "/proc/self/", "/proc/thread-self/")
    assert written
    assert [words for words in written if not any(place in words for place in places)] == []
    assert prun("volume", "rm", "named").returncode == 0
