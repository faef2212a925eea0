"""The OCI runtime binary as a process: which one, how it is called, and what its words mean.

runc and crun take the same command line.  runc is looked for first: it works in every cgroup mode, and Debian 12's
crun (1.8.1) has holes that its runc has not (a leaked descriptor gives the host's root).  crun starts a container
10 ms sooner; ``--opt binary=crun`` chooses it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import TYPE_CHECKING, NamedTuple

from prun.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable
from prun.types import RUNTIME_FIELDS, Platform, RuntimeInfo

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Mapping

BINARIES = ("runc", "crun")
# Not $PATH, which is the caller's: under sudo it may lead to somebody else's file.
DIRECTORIES = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
ENVIRONMENT = {"PATH": ":".join(DIRECTORIES)}
OPTIONS = {
    "binary": "the OCI runtime: a name (runc, crun) or an absolute path; default: runc, else crun",
    "cdi-dir": "where CDI files are, DIR[:DIR]...; the last has priority; default: /etc/cdi:/var/run/cdi",
}
UMASK = 0o022  # of a process whose container asks for none, and of those of ours
_PR_SET_PDEATHSIG = 1
LOG_LIMIT_BYTES = 1 << 20
_INSTALL = "install one: apt install runc"


def describe() -> RuntimeInfo:
    """Describe the linux runtime from a few looks at the file system; nothing is executed."""
    if sys.platform != "linux":
        platform, reason, remedy = Platform("linux", "amd64"), f"this is {sys.platform}, not Linux", ""
    else:
        from prun.image.platform import host_platform

        platform, reason, remedy = host_platform(), "", ""
        if os.geteuid() != 0:
            from prun.rootless import why_not

            reason, remedy = why_not()
    return RuntimeInfo(
        "linux", (platform,), reason, remedy, OPTIONS, "io.containerd.runc.v2",
        honours=RUNTIME_FIELDS, needs_root=True, outlives=True,
    )  # fmt: skip


def find_binary(name: str) -> str:
    """Return the absolute path of the OCI runtime ``name``; with an empty name, of the first that works here.

    Raises:
        InvalidArgument: the name is a relative path.
        NotFound: there is no such binary.
        FailedPrecondition: it cannot work on this machine.
    """
    if "/" in name:
        if not os.path.isabs(name):
            raise InvalidArgument(f"OCI runtime {name!r} is a relative path", hint="give a name or an absolute path")
        candidates = [name]
    else:
        candidates = [f"{directory}/{word}" for word in ([name] if name else BINARIES) for directory in DIRECTORIES]
    refused = ""
    for path in candidates:
        if os.path.isfile(path) and os.access(path, os.X_OK):
            if not (reason := _why_not(path)):
                return path
            refused = refused or reason
    if refused:
        raise FailedPrecondition(refused, hint="apt install runc, or --opt binary=runc if it is installed")
    if name:
        raise NotFound(
            f"OCI runtime {name!r} is not in {ENVIRONMENT['PATH']}"
            if "/" not in name
            else f"OCI runtime {name!r} is no executable file",
            hint=_INSTALL,
        )
    raise NotFound(f"there is no OCI runtime ({', '.join(BINARIES)}) in {ENVIRONMENT['PATH']}", hint=_INSTALL)


def _why_not(path: str) -> str:
    from prun_linux import cgroups

    if os.path.basename(path) == "crun" and cgroups.split_controllers():
        return f"{path} does not work with cgroups in hybrid mode: the v2 tree {cgroups.MOUNT}/unified has controllers"
    return ""


class OciRuntime(NamedTuple):
    """One OCI runtime: the path of its binary, and the directory where it keeps its state."""

    binary: str
    root: str

    @property
    def name(self) -> str:
        return os.path.basename(self.binary)

    def argv(self, words: list[str], log: str = "") -> list[str]:
        """Return the whole command line for the words of one call."""
        return [self.binary, "--root", self.root, *(["--log", log, "--log-format", "json"] if log else []), *words]

    def knows(self, container_id: str) -> bool:
        """Tell whether the runtime still holds state of a container."""
        return os.path.lexists(os.path.join(self.root, container_id))

    def spawn(
        self,
        words: list[str],
        *,
        log: str = "",
        stdio: tuple[int, int, int] | None = None,
        preserve_fds: int = 0,
        bound: bool = False,
        umask: int = UMASK,
    ) -> subprocess.Popen[bytes]:
        """Start the binary; ``stdio`` are the descriptors it gets, by default ``/dev/null``.

        It gets no other but as many from 3 on as ``preserve_fds`` says.  ``bound``: it gets SIGTERM when we are killed.

        It leads a session of its own: Ctrl-C on our terminal reaches prun, which passes it on, and not both.
        """
        import subprocess

        stdin, stdout, stderr = stdio or (subprocess.DEVNULL,) * 3
        try:
            return subprocess.Popen(
                self.argv(words, log),
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env=ENVIRONMENT,
                cwd="/",
                umask=umask,
                close_fds=True,
                pass_fds=range(3, 3 + preserve_fds),
                start_new_session=True,
                preexec_fn=_ending_with_us() if bound else None,  # noqa: PLW1509  one system call, no lock
            )
        except OSError as error:
            raise Unavailable(f"{self.binary} cannot be executed: {error.strerror}") from error

    def call(self, *words: str, log: str) -> str:
        """Run the binary to its end; return an empty string, or its words when it failed."""
        code = finish(self.spawn(list(words), log=log))
        return "" if code == 0 else self.failure(log) or f"exit status {code}"

    def kill(self, container_id: str, number: int) -> bool:
        """Send a signal to the container's first process; False when there is none."""
        return finish(self.spawn(["kill", container_id, str(number)])) == 0

    def delete(self, container_id: str) -> None:
        """Kill the container if it runs, and forget it; one that is not known is no error.

        Raises:
            Unavailable: the runtime could not, and still holds its state.
        """
        for _ in range(2):  # the first may have been killed half-way
            finish(self.spawn(["delete", "--force", container_id]))
            if not self.knows(container_id):
                return
        raise Unavailable(
            f"{self.name} could not delete container {container_id}",
            hint=f"run {self.binary} --root {self.root} delete --force {container_id}",
        )

    def state(self, container_id: str) -> Mapping[str, object]:
        """Return the OCI state (runtime.md#state), empty when the runtime does not know the container."""
        import subprocess

        command = [self.binary, "--root", self.root, "state", container_id]
        answer = subprocess.run(command, env=ENVIRONMENT, cwd="/", capture_output=True, check=False)
        try:
            state = json.loads(answer.stdout) if answer.returncode == 0 else {}
        except ValueError:
            state = {}
        return state if isinstance(state, dict) else {}

    def failure(self, log: str) -> str:
        """Return what the runtime logged as its error, on one line; empty when it logged none."""
        try:
            with open(log, "rb") as file:
                lines = file.read(LOG_LIMIT_BYTES).splitlines()
        except FileNotFoundError:
            return ""
        for line in reversed(lines):
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # cut off, or written by something that the runtime called
            if isinstance(entry, dict) and entry.get("level") in ("error", "fatal", "panic"):
                return _one_line(str(entry.get("msg", "")))
        return ""


def _ending_with_us() -> Callable[[], object]:
    """Return what lets a child get SIGTERM when the thread that started it ends: PR_SET_PDEATHSIG(2const)."""
    import ctypes

    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def finish(process: subprocess.Popen[bytes]) -> int:
    """Wait for a call of the runtime; an exception of a signal handler waits, too, so that nothing is half done."""
    try:
        return process.wait()
    except BaseException:
        process.wait()
        raise


def open_runtime(binary: str, state: str) -> OciRuntime:
    """Return the OCI runtime ``binary`` (empty: the default) with its state below the directory ``state``.

    Each binary has a directory of its own, because runc and crun do not read each other's state.
    """
    path = find_binary(binary)
    return OciRuntime(path, os.path.join(state, os.path.basename(path)))


def _one_line(words: str) -> str:
    for prefix in ("runc run failed: ", "runc create failed: ", "exec failed: ", "unable to start container process: "):
        words = words.removeprefix(prefix)
    return "".join(c if c.isprintable() else " " for c in " ".join(words.split()))[:500]
