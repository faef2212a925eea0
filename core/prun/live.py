"""Tasks that outlive the prun that made them: what can be done with a container that lives.

``prun_create_task`` (for a request with ``monitored``) and ``prun_load_task`` return them where the runtime's
``RuntimeInfo.outlives`` says so.  What one cannot do is an ``Unimplemented`` that names the runtime.
"""

# As in prun.types: no `from __future__ import annotations`.

from typing import TYPE_CHECKING, NamedTuple, Protocol

from prun.types import Console, ExitStatus, Task

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

    from prun.request.resources import Resources

STDOUT, STDERR = 1, 2


class Attachment(Protocol):
    """A connection to the standard streams of a process that lives; several may be there at once.

    ``receive`` is one thread's, the others another's.
    """

    def receive(self) -> tuple[int, bytes] | None:
        """Return which stream (1 stdout, 2 stderr; with a terminal always 1) and what came; None at the end."""
        ...

    def send(self, data: bytes) -> None:
        """Write to the process's stdin; waits while it does not read.

        Raises:
            OSError: it has gone.
        """
        ...

    def end_input(self) -> None:
        """Say that no more input comes; the process sees the end of its stdin where it was made for one client."""
        ...

    def resize(self, rows: int, columns: int) -> None:
        """Give the terminal this size; nothing where there is none."""
        ...

    def stop(self) -> None:
        """Let ``receive`` return None, whoever waits in it."""
        ...

    def __enter__(self) -> "Self": ...
    def __exit__(
        self, kind: "type[BaseException] | None", error: BaseException | None, trace: "TracebackType | None", /
    ) -> None: ...


class ExecRequest(NamedTuple):
    """One more process for a container that runs (``prun exec``); its fields are those of ``RunRequest``.

    ``id`` is the session's.  An empty ``user`` or ``workdir`` is the container's; ``env`` goes over the container's.
    ``attach`` is empty: all of its streams are carried, or with ``detach`` none.
    """

    id: str
    args: tuple[str, ...]
    env: tuple[str, ...] = ()
    user: str = ""
    workdir: str = ""
    privileged: bool = False
    terminal: bool = False
    interactive: bool = False
    detach: bool = False
    detach_keys: str | None = None
    preserve_fds: int = 0
    stdin: bytes | None = None
    capture: bool = False
    attach: tuple[str, ...] = ()
    exit_command: tuple[str, ...] = ()

    @property
    def monitored(self) -> bool:
        """Whether it can outlive the prun that started it, and its streams are reached as a container's are."""
        return self.terminal or self.detach


class Session(Task, Protocol):
    """A further process in a container, with a directory of its own, which the caller makes and removes.

    ``delete`` ends the process and all that looks after it.
    """

    @property
    def monitor_pid(self) -> int | None: ...

    def attach(self) -> Attachment:
        """Connect to the streams of a monitored one; possible before ``start``."""
        ...

    def exited(self) -> ExitStatus | None:
        """Return how a monitored one has ended, None where nobody has written it down."""
        ...

    def leave(self) -> None:
        """Let go of a monitored one, which lives on."""
        ...


class TaskStats(NamedTuple):
    """What a task has used since its start (processor time, bytes), and uses now (memory, processes).

    Memory is without the part of the page cache that is not in use; its limit is the machine's where there is none.
    """

    cpu_ns: int = 0
    memory_bytes: int = 0
    memory_limit_bytes: int = 0
    network_received_bytes: int = 0
    network_sent_bytes: int = 0
    block_read_bytes: int = 0
    block_written_bytes: int = 0
    pids: int = 0


class LiveTask(Task, Protocol):
    """A task whose process something else waits for.

    ``start_time`` with ``pid`` is the identity of its process, ``monitor_pid`` the process that waits for it, keeps its
    streams and its exit code; both None where they are gone.
    """

    @property
    def start_time(self) -> int | None: ...

    @property
    def monitor_pid(self) -> int | None: ...

    @property
    def timed_out(self) -> bool:
        """Whether its monitor has ended it because the request's ``timeout_s`` had passed."""
        ...

    def exited(self) -> ExitStatus | None:
        """Return how the process ended, None while it runs and where nobody knows."""
        ...

    def out_of_memory(self) -> bool:
        """Tell whether the kernel has killed it for want of memory."""
        ...

    def attach(self) -> Attachment:
        """Connect to the process's streams.

        Raises:
            FailedPrecondition: they belong to the prun that runs it, or its monitor is gone.
        """
        ...

    def probe(self, words: "Sequence[str]", timeout_s: float) -> tuple[int | None, bytes]:
        """Run a command as the container's process runs; its exit code, None when the time is up, and its output."""
        ...

    def pids(self) -> list[int]:
        """Return the pids, this machine's, of all processes of the container."""
        ...

    def pause(self) -> None:
        """Stop every process of the container where it stands."""
        ...

    def resume(self) -> None:
        """Let them go on."""
        ...

    def exec(self, request: ExecRequest, directory: str, console: Console) -> Session:
        """Get one more process ready, with its files in ``directory``; ``start`` starts it.

        Raises:
            CommandNotFound, CommandNotInvocable: as a look into the container tells.
            InvalidArgument, NotFound: of the user or the working directory.
        """
        ...

    def session(self, directory: str) -> Session:
        """Find a process again that ``exec`` has made there; also one that has ended."""

    def stats(self) -> TaskStats:
        """Return what it uses.

        Raises:
            FailedPrecondition: nobody counts it.
        """
        ...

    def update(self, resources: "Resources") -> None:
        """Limit it to these resources from now on.

        Raises:
            InvalidArgument, FailedPrecondition: this machine cannot; nothing has changed.
            Unavailable: the OCI runtime could not.
        """
        ...
