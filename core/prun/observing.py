"""A run that is watched: its stages and hooks are timed, its events written as they come.

Only for who asks (``prun.request.observation``): the plugins are registered once more, with a clock around each of
their hookimpls, so that any other run of the same process pays nothing.
"""

from __future__ import annotations

import json
import os
import stat
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, cast

from prun import hookspecs
from prun.errors import InvalidArgument
from prun.plugins import Hooks
from prun.request.observation import OTLP, Observation

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from pluggy import HookImpl, PluginManager

    from prun.spec.document import Spec
    from prun.timeline import Timeline
    from prun.types import Event, Image, Platform, RunRequest, Stage

    Built = Callable[[Image, Spec, Hooks], None]
    Judge = Callable[[dict[str, Any]], None]

_HOOK = "prun_"


class WatchedHooks(Hooks):
    """The hooks of others, told to a timeline; ``events_fd`` gets a line of JSON for each event, -1 for nobody.

    ``built`` is called with the image, the finished spec and the hooks of others, before anything is created.
    """

    def __init__(self, hooks: Hooks, timeline: Timeline, events_fd: int = -1, built: Built | None = None) -> None:
        vars(self).update(vars(hooks))
        self.base = self if hooks.base is hooks else hooks.base
        self._plain, self._timeline, self._events_fd = hooks, timeline, events_fd
        self._built, self._image = built, cast("Image | None", None)
        self._pm = _with_a_clock(hooks._pm, timeline)

    def including(self, files: Iterable[str]) -> Hooks:
        return WatchedHooks(self._plain.including(files), self._timeline, self._events_fd, self._built)

    @contextmanager
    def at(self, stage: Stage) -> Iterator[None]:
        with self._timeline.span(stage, "stage"), super().at(stage):
            yield

    def resolve_image(self, request: RunRequest, platform: Platform) -> Image:
        self._image = super().resolve_image(request, platform)
        return self._image

    def event(self, event: Event) -> None:
        if event.kind == "built" and self._built and self._image:
            self._built(self._image, cast("Spec", event.detail), self._plain)
        at_ns = self._timeline.happened(event)
        if self._events_fd >= 0 and not _written(self._events_fd, event_line(event, self._timeline.wall_ns(at_ns))):
            self._events_fd = -1  # whoever read them has gone, which is no fault of the container
        super().event(event)


def event_line(event: Event, time_ns: int) -> bytes:
    """Return an event as a line of JSON; ``docs/output.md`` has the fields."""
    fields = {"time_ns": time_ns, "container": event.container_id, "kind": event.kind, "detail": event.detail}
    return json.dumps(fields).encode() + b"\n"


@contextmanager
def watched(
    request: RunRequest, hooks: Callable[[], Hooks], timeline: Timeline, judge: Judge | None = None
) -> Iterator[WatchedHooks]:
    """Give the hooks for one watched run, told to ``timeline``, and write its trace at the end, however that comes.

    ``judge`` is given the lock of the run (``prun.locking``) before anything is created, and may refuse it.

    A trace that cannot be written then is a warning: the container has run, and has an exit code.

    Raises:
        InvalidArgument: a descriptor is not open, or would be the container's too.
        FailedPrecondition: there is no package for OTLP.
        PermissionDenied, NotFound: the trace's file cannot be written.
    """
    asked = request.observation or Observation()
    fd = _own_descriptor(asked.events_fd, request.preserve_fds)
    write, warn = _writer(asked.trace), None
    try:
        with timeline.span("run", "run"):
            with timeline.span("plugins", "stage"):
                loaded = hooks()
            warn = loaded.warn
            yield WatchedHooks(loaded, timeline, fd, _locking(request, asked.lock, judge))
    finally:
        if (fault := write(timeline)) and warn:
            warn(f"--trace {asked.trace}: {fault}")


def _locking(request: RunRequest, path: str, judge: Judge | None) -> Built | None:
    if not path and judge is None:
        return None
    from prun.locking import lock_of, write_lock

    def built(image: Image, spec: Spec, hooks: Hooks) -> None:
        document = lock_of(request, image, spec, hooks)
        if judge is not None:
            judge(document)
        if path:
            write_lock(path, document)

    return built


def _writer(where: str) -> Callable[[Timeline], str]:
    """Return what a timeline is given to, which says what went wrong; that it can be written is seen to now."""
    if not where:
        return lambda _: ""
    if where == OTLP:
        from prun.otlp import exporter

        return exporter()
    from prun.tracefile import trace_file

    return trace_file(where)


def _own_descriptor(fd: int, preserved: int) -> int:
    """Keep the descriptor of ``--events-fd`` to ourselves: whoever holds it could write events."""
    import fcntl

    if fd < 0:
        return fd
    if 3 <= fd < 3 + preserved:
        raise InvalidArgument(
            f"--events-fd {fd}: --preserve-fds {preserved} would give it to the container too", hint="use a higher one"
        )
    try:
        mode = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE
        if stat.S_ISDIR(os.fstat(fd).st_mode) or mode == os.O_RDONLY:
            raise InvalidArgument(f"--events-fd {fd} cannot be written to", hint="open it: --events-fd 3 3>events")
    except OSError as error:
        raise InvalidArgument(f"--events-fd {fd} is not open", hint="open it: --events-fd 3 3>events") from error
    if fd > 2:
        os.set_inheritable(fd, False)
    return fd


def _written(fd: int, data: bytes) -> bool:
    try:
        while data:
            data = data[os.write(fd, data) :]
    except OSError:
        return False
    return True


def _with_a_clock(pm: PluginManager, timeline: Timeline) -> PluginManager:
    copy = type(pm)("prun")
    copy.add_hookspecs(hookspecs)
    for name, plugin in pm.list_name_plugin():
        copy.register(plugin, name)
    for name in vars(copy.hook):
        if name.startswith(_HOOK):
            functions = {impl.plugin_name: impl.function for impl in getattr(pm.hook, name).get_hookimpls()}
            for impl in getattr(copy.hook, name).get_hookimpls():
                impl.function = _timed(impl, functions.get(impl.plugin_name, impl.function), name, timeline)
    return copy


def _timed(impl: HookImpl, function: Callable[..., Any], name: str, timeline: Timeline) -> Callable[..., Any]:
    plugin = impl.plugin_name

    @wraps(function)
    def plain(*arguments: object) -> object:
        with timeline.span(name, "hook", plugin):
            return function(*arguments)

    @wraps(function)
    def wrapper(*arguments: object) -> Generator[None, Any, object]:
        """Do what the wrapper does, without the time of those that it wraps."""
        inner: Generator[None, Any, object] = function(*arguments)
        with timeline.span(f"{name} (before)", "hook", plugin):
            next(inner)
        failure: BaseException | None = None
        try:
            answer = yield
        except BaseException as error:  # noqa: BLE001  it is the wrapper's to say what becomes of it
            failure = error
        with timeline.span(f"{name} (after)", "hook", plugin):
            try:
                inner.send(answer) if failure is None else inner.throw(failure)
            except StopIteration as end:
                return end.value
        raise RuntimeError(f"{plugin}: {name} has a second yield")

    return wrapper if impl.wrapper or impl.hookwrapper else plain
