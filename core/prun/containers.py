"""The library's side of containers that are there: list them, start, stop and remove them, wait for their end.

>>> runner = prun.Runner()
>>> web = runner.run("busybox", ["httpd", "-f"], detach=True, remove=False)
>>> runner.containers.stop(web.id)
>>> runner.containers.remove(web.id)
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from prun.recovery import recover
from prun.state import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prun.api import Runner
    from prun.explained import Explained
    from prun.metadata import ContainerRow


class Containers:
    """The containers of a runner's directories; each is named by its name, its id, or the beginning of its id.

    Every method raises NotFound where there is none, InvalidArgument where several ids begin like that.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def list(self) -> list[ContainerRow]:
        """Return the records of all, the newest first, as they are now."""
        with self._opened() as store:
            return store.metadata.containers()

    def get(self, name: str) -> ContainerRow:
        """Return the record of one, as it is now."""
        with self._opened() as store:
            return store.find(name)

    def explain(self, name: str = "") -> Explained:
        """Return why the spec of one is as it is, of the one that was made last without a name.

        Raises:
            FailedPrecondition: it was made without ``explain``, and what it was made of is not kept.
        """
        from prun.explained import explained, last_container

        with self._opened() as store:
            return explained(store, store.find(name) if name else last_container(store), self._runner.hooks_of)

    def start(self, name: str) -> None:
        """Start one that was created or has ended, and leave it alone; one that runs stays as it is.

        Raises:
            FailedPrecondition: it is paused, or its runtime does not keep what it was made from.
        """
        from prun.starting import stored_request

        with self._opened() as store:
            row = store.find(name)
            if row.status == "running":
                return
            store.metadata.update_container(row.id, restart_count=0)
            request = stored_request(store, row)._replace(detach=True)
        self._runner.execute(request)

    def stop(self, name: str, *, timeout: float | None = None, signal: str | int | None = None) -> None:
        """Ask one to end, and end it after ``timeout`` seconds, None for its own or ten; one that has ended is fine."""
        from prun.stopping import stop

        with self._opened() as store:
            stop(store, store.find(name), timeout, None if signal is None else _number(signal))

    def kill(self, name: str, signal: str | int = "KILL") -> None:
        """Send one a signal; after SIGKILL it has ended.

        Raises:
            FailedPrecondition: it does not run.
        """
        from prun.stopping import kill

        with self._opened() as store:
            kill(store, store.find(name), _number(signal))

    def pause(self, name: str) -> None:
        """Stop every process of one where it stands.

        Raises:
            FailedPrecondition: it does not run, or is paused.
        """
        from prun.stopping import pause

        with self._opened() as store:
            pause(store, store.find(name))

    def unpause(self, name: str) -> None:
        """Let the processes of one go on.

        Raises:
            FailedPrecondition: it is not paused.
        """
        from prun.stopping import unpause

        with self._opened() as store:
            unpause(store, store.find(name))

    def wait(self, name: str) -> int:
        """Wait until one does not run any more, and return its exit code; 0 of one that never ran."""
        from prun.starting import wait

        with self._opened() as store:
            return wait(store, store.find(name))

    def remove(self, name: str, *, force: bool = False, volumes: bool = False) -> None:
        """Remove one; with ``force`` end it first, with ``volumes`` take its anonymous volumes too.

        Raises:
            FailedPrecondition: it runs.
        """
        from prun.ending import LIVING
        from prun.errors import FailedPrecondition
        from prun.stopping import remove_container

        with self._opened() as store:
            row = store.find(name)
            if row.status in LIVING and not force:
                raise FailedPrecondition(f"container {name} is {row.status}", hint="stop it, or use force=True")
            remove_container(store, row, volumes=volumes)

    @contextmanager
    def _opened(self) -> Iterator[Store]:
        with Store(self._runner.root, self._runner.state) as store:
            recover(store)
            yield store


def _number(signal: str | int) -> int:
    from prun.request.lifecycle import signal_number

    return signal_number(str(signal), "signal")
