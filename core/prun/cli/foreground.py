"""A run whose client may go while it goes on: two processes, without a daemon.

The child, in a session of its own, does the run as usual.  The parent is what the caller sees: it passes on signals,
waits for the end or for word that the user has left, and has the container's exit code, or 0.  If the parent is
killed, the run goes on as well; if the child is, it ends as any run whose prun is killed (``prun.recovery``).
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from prun.signals import NAMES

if TYPE_CHECKING:
    from types import FrameType

    from prun.types import RunRequest


def forked(request: RunRequest) -> RunRequest | int:
    """Fork; return the request in the child, and in the parent, when the run has ended or was left, the exit code.

    Nothing may be open and no thread running yet.
    """
    import termios

    terminal = termios.tcgetattr(0) if os.isatty(0) else None
    if terminal:
        termios.tcsetattr(0, termios.TCSADRAIN, terminal)  # stops us here while we are in the background, as it should
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # What comes before there is a child to pass it on to shall wait.
    forwarded = [getattr(signal, name) for name in (*(NAMES if request.sig_proxy else ()), "SIGWINCH")]
    signal.pthread_sigmask(signal.SIG_BLOCK, forwarded)
    ours, childs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        os.setsid()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, forwarded)
        return request._replace(detach_fd=childs)
    os.close(childs)

    def forward(number: int, _: FrameType | None) -> None:
        with suppress(ProcessLookupError):  # it has just ended
            os.kill(child, number)

    for number in forwarded:
        signal.signal(number, forward)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, forwarded)
    if os.read(ours, 1):
        return 0
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code < 0 and terminal:
        termios.tcsetattr(0, termios.TCSADRAIN, terminal)  # the child could not
    return code if code >= 0 else 128 - code
