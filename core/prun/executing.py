"""One more process in a container that runs: ``prun exec``."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from prun import sessions
from prun.console import Attached, Captured, Inherited
from prun.ending import live_task, own_command
from prun.errors import FailedPrecondition, InvalidArgument, PrunError

if TYPE_CHECKING:
    from prun.live import ExecRequest
    from prun.metadata import ContainerRow
    from prun.signals import ForwardedSignals
    from prun.state import Store
    from prun.types import Console, ExitStatus


class Executed(NamedTuple):
    """How it ended; ``status`` is None where it lives on.  ``stdout`` and ``stderr`` are what was captured."""

    status: ExitStatus | None
    stdout: bytes = b""
    stderr: bytes = b""


def execute(store: Store, row: ContainerRow, request: ExecRequest, signals: ForwardedSignals | None = None) -> Executed:
    """Execute a process in a container, to its end or until it can be left alone.

    ``signals``, already entered, are passed on to it.

    Raises:
        FailedPrecondition: the container does not run, or is paused.
        CommandNotFound, CommandNotInvocable, InvalidArgument, NotFound: what was asked for is not in the container.
    """
    if not request.args:
        raise InvalidArgument("COMMAND is missing", hint="prun exec [OPTIONS] CONTAINER COMMAND [ARG...]")
    if row.status == "paused":
        raise FailedPrecondition(
            f"container {row.name} is paused, unpause the container before exec", hint=f"prun unpause {row.name}"
        )
    task = live_task(store, row)
    path = sessions.directory_of(store, row.id, request.id)
    if request.monitored:
        cleanup = ("container", "cleanup", row.id, "--session", request.id)
        request = request._replace(exit_command=(*own_command(store.root, store.state), *cleanup))
    if not getattr(task, "outlives", True):
        request = request._replace(detach_keys="")  # there is nothing to leave it to
    with ExitStack() as stack:
        console = stack.enter_context(_console(request))
        stack.enter_context(sessions.directory(path))
        if signals is not None:
            signals.hold()
        session = task.exec(request, path, console)
        ending = stack.enter_context(ExitStack())
        ending.callback(session.delete)
        sessions.tell(store, row, "exec_create", request.id)
        if signals is not None:
            signals.to(session)
        try:
            with console.attach(session):
                try:
                    session.start()
                    sessions.tell(store, row, "exec_start", request.id)
                    left = not console.follow()
                    status = None if left else session.wait()
                except BaseException:
                    session.delete()  # a console waits for the end of its output
                    raise
        except PrunError as error:
            sessions.tell(store, row, "exec_die", request.id, exitCode=str(error.exit_code))
            raise
        if left:
            if not request.detach:
                sessions.tell(store, row, "exec_detach", request.id)
            sessions.leave(path)
            ending.pop_all()
            session.leave()
        else:
            sessions.tell(store, row, "exec_die", request.id, exitCode=str(status.code if status else 0))
    if left:
        sessions.settle(store, session, row.id, request.id)
    return Executed(status, *console.output())


def _console(request: ExecRequest) -> Console:
    if request.monitored:
        return Attached(request)
    if request.capture:
        return Captured(request.stdin or b"")
    return Inherited(interactive=request.interactive)
