"""The process that stays with a container when prun does not: conmon, one for each, in C, a megabyte or two.

It makes the container (``RUNTIME create``), keeps its streams and its log, waits for it and writes down how it ended,
in the container's bundle:

    conmon.pid  its own pid          pid     the container's           exit   the exit code, once it has ended
    attach      connects to streams  ctl     takes terminal sizes      oom    the kernel has killed it for its memory
    client      locked by a prun that will itself clean up when the container has ended

See conmon(8); the protocol of ``attach`` is in ``prun_linux.attachment``.
"""

from __future__ import annotations

import json
import math
import os
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from prun.errors import FailedPrecondition, NotFound, Unavailable
from prun.identity import start_time
from prun.types import ExitStatus
from prun_linux.oci import DIRECTORIES, ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from subprocess import Popen

    from prun.request.supervision import LogRequest
    from prun.types import RunRequest
    from prun_linux.oci import OciRuntime
    from prun_linux.task import Launch

CONMON_DIRECTORIES = (*DIRECTORIES, "/usr/libexec/podman", "/usr/lib/podman")
KILLED = 128 + 9
# What the exit command needs to find the same store, settings and plugins; nothing that steers Python or the linker.
_PASSED_ON = ("HOME", "USER", "LANG", "XDG_RUNTIME_DIR", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")
_ANSWER_BYTES = 1 << 16
PATIENCE_S = 5  # more than it takes from the end of the OCI runtime to conmon's answer


def find_conmon() -> str:
    """Return the path of conmon.

    Raises:
        NotFound: it is not installed.
    """
    if found := _tool("conmon", CONMON_DIRECTORIES):
        return found
    raise NotFound("there is no conmon, which stays with containers that outlive prun", hint="apt install conmon")


def spawn(launch: Launch, request: RunRequest, is_creating: Callable[[], bool]) -> int:
    """Let a new conmon create the container, and return the pid of its process, which waits to be started.

    ``is_creating`` tells whether the OCI runtime is still at work on it.

    Raises:
        CommandNotFound, CommandNotInvocable, Unavailable: as the OCI runtime says.
        NotFound: there is no conmon.
        FailedPrecondition: what was asked of the log is more than this conmon can do.
    """
    binary = find_conmon()
    with ExitStack() as stack:
        said, saying = os.pipe()
        stack.callback(os.close, said)
        writer = stack.enter_context(ExitStack())
        writer.callback(os.close, saying)
        directory = os.open(launch.bundle, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, directory)
        words = argv(launch, request, binary)
        process = started(words, directory, {"_OCI_SYNCPIPE": saying}, request.preserve_fds)
        try:
            writer.close()
            if _is_answered(said, is_creating):
                with open(said, "rb", closefd=False) as file:
                    answer = parsed(file.readline(_ANSWER_BYTES))
            else:
                answer = {"message": "the OCI runtime ended without a word while it created the container"}
        finally:
            code = process.wait()  # the one that forks; conmon itself is its child
    pid = answer.get("data", -1)
    if code or not isinstance(pid, int) or pid <= 0:
        words_of_runtime = launch.runtime.failure(launch.log)
        raise launch.failed(words_of_runtime or str(answer.get("message", "")) or f"conmon exited with {code}")
    return pid


def argv(launch: Launch, request: RunRequest, binary: str) -> list[str]:
    """Return the command line of the conmon that creates the container; a dry run makes no file for it."""
    check = not request.dry_run
    return [binary, *_words(launch, request, make=check), *_log_words(request.log, binary, check=check)]


def _is_answered(fd: int, is_creating: Callable[[], bool]) -> bool:
    """Wait for conmon's answer; False is one that will never come.

    Where the OCI runtime was killed when its container was there already, conmon waits for that one's output to end.
    """
    import select

    silence_s = 0
    while not select.select([fd], [], [], 1.0)[0]:
        silence_s = 0 if is_creating() else silence_s + 1
        if silence_s == PATIENCE_S:
            return False
    return True


def started(words: Sequence[str], directory: int, pipes: Mapping[str, int], preserve_fds: int) -> Popen[bytes]:
    """Start a conmon.

    ``directory`` is an open descriptor that stays open until it has the process's terminal: it makes a socket for it
    there, whose path may have 107 bytes.  ``pipes``: descriptors by the variables that tell conmon of them.
    """
    import subprocess

    try:
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={
                **_environment(),
                **{name: str(fd) for name, fd in pipes.items()},
                "TMPDIR": f"/proc/{os.getpid()}/fd/{directory}",
            },
            cwd="/",
            umask=0o022,
            pass_fds=(*range(3, 3 + preserve_fds), *pipes.values()),
            start_new_session=True,
        )
    except OSError as error:
        raise Unavailable(f"{words[0]} cannot be executed: {error.strerror}") from error


def pid_of(bundle: str) -> int | None:
    """Return the pid of the conmon of a bundle, None where none is there any more."""
    try:
        with open(os.path.join(bundle, "conmon.pid"), encoding="ascii") as file:
            pid = int(file.read())
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            line = file.read(1 << 16).split(b"\0")
        is_ours = os.path.basename(os.readlink(f"/proc/{pid}/exe")) == "conmon" and os.fsencode(bundle) in line
    except (OSError, ValueError):
        return None
    return pid if is_ours and start_time(pid) is not None else None


def is_there(bundle: str) -> bool:
    """Tell whether a conmon was ever started for the bundle."""
    return os.path.exists(os.path.join(bundle, "conmon.pid"))


def exit_status(bundle: str) -> ExitStatus | None:
    """Return how the container ended, None while it has not, or where nobody has written it down."""
    try:
        with open(os.path.join(bundle, "exit"), encoding="ascii") as file:
            code = int(file.read())
    except (OSError, ValueError):
        return None
    return ExitStatus(code if code >= 0 else KILLED)  # -1: conmon has killed it, after --timeout


def timed_out(bundle: str) -> bool:
    """Tell whether conmon has ended the container because its time was up."""
    try:
        with open(os.path.join(bundle, "exit"), encoding="ascii") as file:
            return file.read() == "-1"
    except OSError:
        return False


def _words(launch: Launch, request: RunRequest, *, make: bool) -> list[str]:
    bundle = launch.bundle
    binary, *for_runtime = runtime_words(
        launch.runtime, launch.log, bundle, terminal=request.terminal,
        user_namespace="uidMappings" in launch.spec.get("linux", {}), make=make,
    )  # fmt: skip
    words = ["--api-version", "1", "--cid", launch.id, "--cuuid", launch.id, "--name", request.name or launch.id]
    words += ["--runtime", binary, *(f"--runtime-arg={word}" for word in for_runtime)]
    words += ["--bundle", bundle, "--persist-dir", bundle, "--full-attach", "--no-sync-log"]
    words += ["--container-pidfile", launch.pid_file, "--conmon-pidfile", os.path.join(bundle, "conmon.pid")]
    if request.preserve_fds:
        words += [f"--runtime-opt=--preserve-fds={request.preserve_fds}"]
    if request.terminal:
        words += ["--terminal"]
    elif request.interactive or request.stdin is not None:
        words += ["--stdin", *(["--leave-stdin-open"] if request.detach else [])]
    if request.timeout_s:
        words += ["--timeout", str(math.ceil(request.timeout_s))]
    if request.exit_command:
        command, *arguments = _unless_locked(request.exit_command, os.path.join(bundle, "client"))
        words += ["--exit-command", command, *(f"--exit-command-arg={word}" for word in arguments)]
    return words


def runtime_words(
    runtime: OciRuntime, log: str, directory: str, *, terminal: bool, user_namespace: bool, make: bool = True
) -> list[str]:
    """Return how the OCI runtime is called; crun gets a file of ``directory`` where conmon would give it /dev/null.

    crun gives its streams to the container's user (1.8.1, ``fchown``): the machine's own /dev/null, with its mode.
    """
    words = runtime.argv([], log)
    if runtime.name != "crun" or not user_namespace:
        return words
    empty = os.path.join(directory, "null")
    if make:
        os.close(os.open(empty, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    streams = '<"$0" >>"$0"' if terminal else 'test -p /dev/stdin || exec <"$0"; exec "$@"'
    return ["/bin/sh", "-c", f'exec "$@" {streams}' if terminal else streams, empty, *words]


def _unless_locked(command: tuple[str, ...], path: str) -> tuple[str, ...]:
    """Let an exit command start only where no prun has locked ``path``; Python's start is most of what it costs."""
    flock = _tool("flock", DIRECTORIES)
    if not flock or os.path.basename(os.path.realpath(flock)) == "busybox":  # whose flock has no -E
        return (*command, "--unless-client")
    return (flock, "--nonblock", "--conflict-exit-code", "0", path, *command)


def _log_words(log: LogRequest | None, binary: str, *, check: bool) -> list[str]:
    if log is None or log.driver == "none":
        return ["--log-path", "none:"]
    words = ["--log-path", f"k8s-file:{log.path}"]
    if log.size_bytes:
        words += ["--log-size-max", str(log.size_bytes)]
    if log.files > 1:
        if check and version(binary) < (2, 2):
            raise FailedPrecondition(
                f"--log-opt max-file={log.files}: {binary} keeps one file; conmon 2.2 keeps more",
                hint="leave max-file out: what is over max-size is dropped, the oldest first",
            )
        words += ["--log-rotate", "--log-max-files", str(log.files - 1)]
    return words


def version(binary: str) -> tuple[int, ...]:
    """Return the version of a conmon, as in (2, 1, 6)."""
    import re
    import subprocess

    answer = subprocess.run([binary, "--version"], env=ENVIRONMENT, cwd="/", capture_output=True, check=False)
    found = re.search(rb"([0-9]+(?:\.[0-9]+)+)", answer.stdout)
    return tuple(map(int, found[1].split(b"."))) if found else ()


def _environment() -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if name in _PASSED_ON or name.startswith("PRUN_")}
    return {**own, **ENVIRONMENT}


def _tool(name: str, directories: tuple[str, ...]) -> str:
    paths = (os.path.join(directory, name) for directory in directories)
    return next((path for path in paths if os.access(path, os.X_OK) and os.path.isfile(path)), "")


def parsed(line: bytes) -> dict[str, object]:
    """Return what conmon says in a line, nothing where it says nothing."""
    with suppress(ValueError):
        answer = json.loads(line)
        if isinstance(answer, dict):
            return answer
    return {}
