"""A real second user of this machine, who runs prun without root: made for a test session, removed after it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from command import listed

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).resolve().parent.parent
SOURCES = ("core", "plugins/fake", "plugins/linux", "plugins/windows")
DEPENDENCIES = ("click", "isal", "pluggy", "tomli", "urllib3", "zstandard")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PRUN = "from prun.cli import main; main()"
SUBORDINATE_IDS = 65536


class SecondUser(NamedTuple):
    """Its processes have a clean environment, and all of its directories are below ``home``."""

    name: str
    uid: int
    home: Path
    python: str
    library: str

    @property
    def root(self) -> Path:
        return self.home / ".local" / "share" / "prun"

    @property
    def state(self) -> Path:
        return self.home / "run" / "prun"

    def command(self, *words: str, **environment: str) -> list[str]:
        """The words as this user's: no group of ours, no variable of ours."""
        variables = {
            "HOME": str(self.home), "USER": self.name, "PATH": PATH, "XDG_RUNTIME_DIR": str(self.home / "run"),
            "PYTHONPATH": self.library, "PYTHONDONTWRITEBYTECODE": "1", "PRUN_PLUGINS": "none", **environment,
        }  # fmt: skip
        become = ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--init-groups"]
        return [*become, "env", "-i", *(f"{key}={value}" for key, value in variables.items() if value), *words]

    def run(
        self, *words: str, stdin: bytes = b"", timeout: float = 60, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*words, **environment), input=stdin, capture_output=True, timeout=timeout, cwd="/", check=False
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        )

    @property
    def words(self) -> list[str]:
        return [self.python, "-c", PRUN]

    def prun(self, *words: str, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run(*self.words, *words, stdin=stdin, **environment)

    def popen(self, *words: str) -> subprocess.Popen[bytes]:
        """``prun``, whose process is the one returned: no program in between forks."""
        return subprocess.Popen(
            self.command(*self.words, *words),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/",
        )  # fmt: skip

    def ids(self) -> set[int]:
        """The user's own id, and the subordinate ones."""
        found = {self.uid}
        for line in Path("/etc/subuid").read_text().splitlines():
            name, first, count = line.split(":")
            if name == self.name:
                found |= set(range(int(first), int(first) + int(count)))
        return found

    def processes(self) -> list[str]:
        """The processes of all of these ids."""
        ids, found = self.ids(), []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.stat(f"/proc/{pid}").st_uid in ids:
                    line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    found.append(f"{pid}: {line}")
            except OSError:
                continue
        return [each for each in found if not each.endswith(": ")]  # zombies have no command line

    def traces(self) -> dict[str, list[str]]:
        """Return what is still running, mounted where others see it, or lying about: empty lists when all is well."""
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        return {
            "mounts": [line for line in mounts if str(self.home) in line],
            "processes": self.processes(),
            "bundles": listed(self.state / "bundles"),
            "runtime": listed(self.state / "runc"),
            "writable": listed(self.root / "snapshots" / "active"),
            "half": [name for name in listed(self.root / "snapshots") if name.startswith("new-")],
        }

    def settled(self) -> dict[str, list[str]]:
        """The same, after processes that were killed have had the time to go."""
        deadline = time.monotonic() + 10
        while (traces := self.traces()) != NOTHING and time.monotonic() < deadline:
            time.sleep(0.05)
        return traces


NOTHING: dict[str, list[str]] = {
    "mounts": [], "processes": [], "bundles": [], "runtime": [], "writable": [], "half": [],
}  # fmt: skip


@contextmanager
def second_user(name: str, *, subordinate: bool = True) -> Iterator[SecondUser]:
    """Make a user with subordinate ids or without; in the end, end its processes and remove all that was its own."""
    # pytest's directories are nobody else's, and neither may the interpreter and the repository be.
    base = Path(tempfile.mkdtemp(prefix="prun-user-"))
    base.chmod(0o755)
    subprocess.run(["useradd", "--no-create-home", "--home-dir", str(base / "home"), name], check=True)
    try:
        uid = pwd.getpwnam(name).pw_uid
        _set_subordinate_ids(name, subordinate=subordinate)
        for directory in (base / "home", base / "home" / "run"):
            directory.mkdir(mode=0o700)
            os.chown(directory, uid, uid)
        library = base / "library"
        _copy_library(library)
        user = SecondUser(name, uid, base / "home", "", str(library))
        yield user._replace(python=_interpreter(user))
    finally:
        end_processes(name)
        subprocess.run(["userdel", name], check=True)
        shutil.rmtree(base)


def end_processes(name: str) -> None:
    """Kill what is left of a user's processes, those of the subordinate ids too, each by its pid."""
    user = SecondUser(name, pwd.getpwnam(name).pw_uid, Path("/nowhere"), "", "")
    for line in user.processes():
        try:
            os.kill(int(line.partition(":")[0]), 9)
        except ProcessLookupError:
            continue
    deadline = time.monotonic() + 10
    while user.processes() and time.monotonic() < deadline:
        time.sleep(0.05)


def _set_subordinate_ids(name: str, *, subordinate: bool) -> None:
    """Leave no doubt: what useradd gives depends on /etc/login.defs."""
    for path, add, drop in (
        ("/etc/subuid", "--add-subuids", "--del-subuids"),
        ("/etc/subgid", "--add-subgids", "--del-subgids"),
    ):
        Path(path).touch()
        lines = [line.split(":") for line in Path(path).read_text().splitlines()]
        own = [line for line in lines if line[0] == name]
        if subordinate and not own:
            first = max([int(line[1]) + int(line[2]) for line in lines] + [100000])
            subprocess.run(["usermod", add, f"{first}-{first + SUBORDINATE_IDS - 1}", name], check=True)
        for line in () if subordinate else own:
            subprocess.run(["usermod", drop, f"{line[1]}-{int(line[1]) + int(line[2]) - 1}", name], check=True)


def _copy_library(target: Path) -> None:
    """Copy prun and what it needs to where everybody can read it."""
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc", "tests")
    for source in SOURCES:
        shutil.copytree(REPOSITORY / source, target, dirs_exist_ok=True, ignore=ignored)
    for name in DEPENDENCIES:
        module = __import__(name)
        shutil.copytree(Path(str(module.__file__)).parent, target / name, ignore=ignored)
    for directory in map(Path, sys.path):
        for metadata in directory.glob("*.dist-info") if directory.is_dir() else ():
            if metadata.name.split("-")[0] in (*DEPENDENCIES, "prun"):
                shutil.copytree(metadata, target / metadata.name, dirs_exist_ok=True)
    subprocess.run(["chmod", "-R", "a+rX", str(target)], check=True)


def _interpreter(user: SecondUser) -> str:
    """Return a Python that the user may execute: ours, or the system's of the same version."""
    for python in (os.path.realpath(sys.executable), f"/usr/bin/python3.{sys.version_info.minor}"):
        if os.path.exists(python) and user.run(python, "-c", "import prun.cli, isal").returncode == 0:
            return python
    raise AssertionError(f"user {user.name} may execute no Python {sys.version_info.major}.{sys.version_info.minor}")
