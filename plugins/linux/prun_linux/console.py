"""The terminal of a container: the master side of its pty, carried to and from the caller's own.

The OCI runtime makes the pty inside the container and sends its master over a unix socket (runc's
docs/terminals.md, "detached new terminal").
"""

from __future__ import annotations

import os
import select
import sys
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Self

from prun.errors import InvalidArgument, Unavailable

if TYPE_CHECKING:
    import socket
    import threading
    from collections.abc import Callable, Iterator
    from types import FrameType, TracebackType

    from prun.detach import KeySequence
    from prun.types import RunRequest, Task

CHUNK_BYTES = 1 << 16
SOCKET_TIMEOUT_S = 10.0
STDIN, STDOUT, STDERR = 0, 1, 2


class Pty:
    """A pty for one container.

    With ``interactive`` the caller's terminal is raw while attached, so that every key, Ctrl-C too, goes to the
    container, but those of ``detach_keys``: then the caller's terminal is his again, and the container goes on without.
    Without ``interactive``, stdin is not read and the terminal stays as it is: Ctrl-C still is a signal to prun.

    Raises:
        InvalidArgument: stdin is to be read and is no terminal.
    """

    stdin = stdout = stderr = -1  # the process gets the pty's other side

    def __init__(self, request: RunRequest) -> None:
        if request.stdin is not None:
            raise InvalidArgument(
                "stdin was given as bytes, and a terminal was asked for", hint="leave one of them out"
            )
        if request.interactive and not os.isatty(STDIN):
            raise InvalidArgument("the input device is not a TTY", hint="leave out -t, or run prun in a terminal")
        self._state = request.state
        self._interactive = request.interactive
        self._captured: list[bytes] | None = [] if request.capture else None
        self._attached = not request.attach or "stdout" in request.attach
        self._client = request.detach_fd
        self._keys = _keys_of(request)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._listener, self.socket = _listen(stack, self._state)
            self._stack = stack.pop_all()
        if sys.stdout is not None:
            sys.stdout.flush()  # what was printed before must come before what the container prints
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @contextmanager
    def attach(self, task: Task) -> Iterator[object]:
        with ExitStack() as stack:
            master = _receive(self._listener)
            stack.callback(os.close, master)
            os.set_blocking(master, False)
            raw = stack.enter_context(ExitStack())
            if self._interactive:
                raw.enter_context(_raw(STDIN))
            stack.enter_context(_same_size(master))
            stop, stopper = os.pipe()
            stack.callback(os.close, stop)
            stack.callback(os.close, stopper)
            # Two threads, so that a caller who is slow to read does not keep what he types from arriving.
            output = _thread(stack, lambda: _carry_output(master, self._deliver, stop))
            if self._interactive:
                _thread(stack, lambda: self._carry_keys(master, stop, raw))
            stack.callback(os.write, stopper, b"\0")  # first on the way out: the threads end, then are joined
            yield self
            output.join()  # to the last byte: a pty ends when the last process that has it open does

    def output(self) -> tuple[bytes, bytes]:
        return b"".join(self._captured or ()), b""

    def _carry_keys(self, master: int, stop: int, raw: ExitStack) -> None:
        """Carry what the caller types; when he leaves, give him back his terminal and go on."""
        if _carry_input(STDIN, master, stop, self._keys, self._client):
            from prun.detach import go_on_alone

            raw.close()
            go_on_alone(self._client)

    def _deliver(self, data: bytes) -> None:
        if not self._attached:
            return
        if self._captured is not None:
            self._captured.append(data)
            return
        view = memoryview(data)
        while view:
            view = view[os.write(STDOUT, view) :]


def _carry_output(master: int, deliver: Callable[[bytes], None], stop: int) -> None:
    """Deliver what the container writes until its side of the pty is closed; where nobody takes it, it is dropped."""
    taken = True
    while _ready(master, select.POLLIN, stop):
        try:
            data = os.read(master, CHUNK_BYTES)
        except BlockingIOError:
            continue
        except OSError:  # EIO: the other side is closed, pty(7)
            return
        if not data:
            return
        if taken:
            try:
                deliver(data)
            except OSError:  # our terminal is gone; the container must not block on its own
                taken = False


def _carry_input(source: int, master: int, stop: int, keys: KeySequence | None, client: int) -> bool:
    """Write what the caller types; while the container does not read, wait for it or for the end.

    Returns True when the caller leaves: by ``keys``, or because ``client``, a pipe that somebody reads, has no reader.
    """
    while (first := _first(source, select.POLLIN, stop, client)) == source:
        try:
            data = os.read(source, CHUNK_BYTES)
            if not data:
                return False
            passed, left = keys.feed(data) if keys else (data, False)
            view = memoryview(passed)
            while view and _ready(master, select.POLLOUT, stop):
                try:
                    view = view[os.write(master, view) :]
                except BlockingIOError:
                    continue
        except OSError:  # EIO: either terminal is gone
            return False
        if left:
            return True
    return first == client


def _ready(fd: int, event: int, stop: int) -> bool:
    """Wait for an event on ``fd``, or its end; False as soon as ``stop`` can be read."""
    return _first(fd, event, stop) == fd


def _first(fd: int, event: int, *others: int) -> int:
    """Wait for an event on ``fd``, or its end, or for anything on ``others``, which go before; return which it is."""
    poll = select.poll()
    poll.register(fd, event)
    watched = [other for other in others if other >= 0]
    for other in watched:
        poll.register(other, select.POLLIN)
    events = dict(poll.poll())
    return next((other for other in watched if other in events), fd)


def _keys_of(request: RunRequest) -> KeySequence | None:
    """Return what the caller leaves with, None where he cannot: nobody would be there to go on."""
    if request.detach_fd < 0:
        return None
    from prun.detach import KeySequence
    from prun.request.lifecycle import DETACH_KEYS, key_codes

    return KeySequence(key_codes(DETACH_KEYS if request.detach_keys is None else request.detach_keys))


def _thread(stack: ExitStack, target: Callable[[], None]) -> threading.Thread:
    """Start a thread that is joined when ``stack`` is closed."""
    import threading

    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    stack.callback(thread.join)
    return thread


def _listen(stack: ExitStack, directory: str) -> tuple[socket.socket, str]:
    """Return a listening socket and a path to it that is short and leaves nothing behind.

    A socket's path has at most 107 bytes, which a bundle's may exceed.  So the socket is made relative to an open
    directory, its name is removed at once, and the path is that of a descriptor of ours.
    """
    import socket

    parent = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        name = f"/proc/self/fd/{parent}/console-{os.urandom(8).hex()}"
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        listener.bind(name)
        try:
            inode = os.open(name, os.O_PATH | os.O_NOFOLLOW)
        finally:
            os.unlink(name)
    finally:
        os.close(parent)
    stack.callback(os.close, inode)
    listener.listen(1)
    return listener, f"/proc/{os.getpid()}/fd/{inode}"


def _receive(listener: socket.socket) -> int:
    """Return the descriptor of the pty's master, which the OCI runtime has sent."""
    import socket

    listener.settimeout(SOCKET_TIMEOUT_S)
    try:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(SOCKET_TIMEOUT_S)
            _, fds, _, _ = socket.recv_fds(connection, CHUNK_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
    except OSError as error:
        raise Unavailable(f"the OCI runtime sent no terminal: {error}") from error
    if not fds or not os.isatty(fds[0]):
        raise Unavailable("the OCI runtime sent something that is no terminal")
    return fds[0]


@contextmanager
def _raw(fd: int) -> Iterator[None]:
    """Put a terminal into raw mode, and back whatever happens."""
    import termios
    import tty

    saved = termios.tcgetattr(fd)
    tty.setraw(fd, termios.TCSADRAIN)
    try:
        yield
    finally:
        with suppress(termios.error):  # it is gone: there is nothing left to restore
            termios.tcsetattr(fd, termios.TCSADRAIN, saved)


@contextmanager
def _same_size(master: int) -> Iterator[None]:
    """Keep the pty as large as the caller's terminal, if there is one; handlers of SIGWINCH are kept.

    Only the main thread may set a handler: elsewhere the size is that of the beginning.
    """
    import signal
    import termios
    import threading

    terminal = next((fd for fd in (STDOUT, STDIN, STDERR) if os.isatty(fd)), None)
    if terminal is None:
        yield
        return

    def resize(number: int, frame: FrameType | None) -> None:
        with suppress(termios.error):  # it is gone, and SIGHUP will say so
            termios.tcsetwinsize(master, termios.tcgetwinsize(terminal))
        if callable(before):
            before(number, frame)

    before = None
    resize(0, None)
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGWINCH, resize)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before if before is not None else signal.SIG_DFL)
