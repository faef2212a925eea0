"""What stands around a plugin's hookimpls: a failure has the plugin's name, and an answer the type of the hook's.

A hookimpl fails that raises what is no error of ``prun.errors``, ends the process, takes too long or answers something
else.  ``on_error`` of ``prun.toml`` says what becomes of it.  One that says no, with an error of ``prun.errors`` or a
``Problem``, has not failed; that something outside did not answer (``Unavailable``) is a failure.
"""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

from prun.errors import Exited, PluginError, PrunError, TimedOut, Unavailable
from prun.types import Image, Mount, PlanStep, Problem, RuntimeInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from pluggy import HookImpl

DEFAULT_S = 10.0
FAILURES = (Exception, SystemExit, Exited, TimedOut)
_TOLERABLE = (PluginError, Unavailable)
_TASK = ("start", "wait", "kill", "delete")


class Guard(NamedTuple):
    """How the hookimpls of one plugin are called.

    ``origin`` is its distribution and version, empty where it comes from none.  ``on_error``: ``fail``, ``warn`` (tell
    ``warn`` and go on without its answer) or ``skip``.  ``ours``: a tier of prun's own that executes no code of others.
    """

    name: str
    origin: str = ""
    on_error: str = "fail"
    timeout_s: float | None = None
    warn: Callable[[str], None] | None = None
    ours: bool = False
    tier_4: bool = False

    def around(self, hook: str, impl: HookImpl) -> Callable[..., Any]:
        """Return what is called in place of a hookimpl.

        Raises:
            PluginError: it is a wrapper of pluggy's old style, whose answer nobody could look at.
        """
        if impl.hookwrapper:
            raise PluginError(f"{self.of(hook)} says hookwrapper=True", hint="wrapper=True", plugin=self.name)
        return (self._wrapper if impl.wrapper else self._plain)(hook, impl.function)

    def failure(self, what: str, error: BaseException) -> PrunError:
        """Return the error that says so of what was raised in ``what``; one of prun's own gets the plugin's name."""
        if isinstance(error, PrunError):
            error.plugin = error.plugin or self.name
            return error
        cause = " ".join(str(error).split())
        kind = "" if isinstance(error, Exited | TimedOut) else f"{type(error).__name__}: "
        failure = PluginError(
            f"{self.of(what)} failed: {kind}{cause}",
            hint=f"report it to the author of {self.name!r}, or leave it out (--plugins)",
            plugin=self.name,
        )
        failure.__cause__ = error
        return failure

    def tolerated(self, failure: PrunError) -> bool:
        """Tell whether the run goes on after a failure; if it is to be told, tell."""
        if self.on_error == "fail" or not isinstance(failure, _TOLERABLE):
            return False
        if self.on_error == "warn" and self.warn is not None:
            self.warn(f"plugin {self.name} is left out: {failure}")
        return True

    def of(self, what: str) -> str:
        """Say whose something is."""
        return f"{what} of {self.origin}" if self.origin else what

    def _checked(self, hook: str, answer: Any, *, wrapper: bool) -> Any:
        """Return an answer of the hook's type; a wrapper's is a list of everyone's where the hook asks all."""
        kind, fits = ANSWERS[hook]
        if answer is None or (wrapper and hook in OF_ALL and isinstance(answer, list) and all(map(fits, answer))):
            return answer
        if (wrapper and hook in OF_ALL) or not fits(answer):
            many = "a list of the answers, each " if wrapper and hook in OF_ALL else ""
            shown = ascii(answer) if len(ascii(answer)) <= 80 else f"{ascii(answer)[:80]}..."
            raise PluginError(f"{self.of(hook)} answered {shown}, which is not {many}{kind}", plugin=self.name)
        return answer

    @contextmanager
    def limited(self, what: str, passing: BaseException | None = None) -> Iterator[None]:
        """While the block runs it may take the plugin's time, and what is raised in it is an error of the plugin's.

        ``passing`` is one of others, which it only lets through.

        Raises:
            PrunError: the block failed, or said no.
        """
        try:
            with self._limits(what)():
                yield
        except FAILURES as error:
            if error is passing:
                raise
            raise self._told(what, error) from (None if isinstance(error, PrunError) else error)

    def _limits(self, what: str) -> Callable[[], AbstractContextManager[object]]:
        """Return what makes the context for each call of some code of the plugin."""
        if self.ours:
            return nullcontext
        from prun.limits import Limited

        return functools.partial(Limited, self.of(what), self.timeout_s)

    def _told(self, what: str, error: BaseException) -> BaseException:
        """Return what is raised in place of an error: itself, where the handler of a signal ends prun's own code."""
        return error if self.ours and isinstance(error, SystemExit) else self.failure(what, error)

    def _plain(self, hook: str, function: Callable[..., Any]) -> Callable[..., Any]:
        _, fits = ANSWERS[hook]
        limit = self._limits(hook)

        # Called some hundred times where there are a hundred plugins: nothing is done here that can be done before.
        def call(*arguments: object) -> object:
            try:
                with limit():
                    answer = function(*arguments)
                return answer if answer is None or fits(answer) else self._checked(hook, answer, wrapper=False)
            except FAILURES as error:
                told = self._told(hook, error)
                if isinstance(told, PrunError) and self.tolerated(told):
                    return None
                raise told from (None if told is error else error)

        call.__wrapped__ = function  # type: ignore[attr-defined]  # as functools.wraps does, for a tenth of the time
        return call

    def _wrapper(self, hook: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*arguments: object) -> Generator[None, Any, Any]:
            generator = function(*arguments)
            went, _ = self._step(hook, lambda: next(generator), ends=False)
            if not went:
                return (yield)
            try:
                inner = yield
            except BaseException as error:
                went, answer = self._step(hook, functools.partial(generator.throw, error), passing=error)
                if went:
                    return answer
                raise
            went, answer = self._step(hook, lambda: generator.send(inner))
            return answer if went else inner

        return call

    def _step(
        self, hook: str, step: Callable[[], Any], *, ends: bool = True, passing: BaseException | None = None
    ) -> tuple[bool, Any]:
        """Let a wrapper run to its ``yield`` or to its end: whether it did, and what it then answered.

        ``passing`` is what others have raised, and no failure of this plugin's when it only lets that through.
        """
        try:
            with self.limited(hook, passing):
                try:
                    step()
                    ended, answer = False, None
                except StopIteration as end:
                    ended, answer = True, end.value
                if ended is not ends:
                    raise PluginError(f"{self.of(hook)} is a wrapper that does not yield once", plugin=self.name)
                return True, self._checked(hook, answer, wrapper=True)
        except PrunError as failure:
            if failure is not passing and self.tolerated(failure):
                return False, None
            raise


def _has(*names: str) -> Callable[[Any], bool]:
    return lambda answer: all(hasattr(answer, name) for name in names)


def _is_list_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda answer: isinstance(answer, list) and all(map(fits, answer))


def _is_mount(item: Any) -> bool:
    return isinstance(item, Mount) and all(isinstance(word, str) for word in (*item[:3], *item.options))


def _is_problem(item: Any) -> bool:
    return isinstance(item, Problem) and all(isinstance(word, str) for word in item)


def _is_ignored(_: Any) -> bool:
    return True


def _is_step(item: Any) -> bool:
    return isinstance(item, PlanStep) and all(isinstance(word, str) for word in (*item[:3], *item.argv))


OF_ALL = frozenset(("prun_spec_opts", "prun_mounts", "prun_check_spec", "prun_plan_steps", "prun_event"))

# What a hook answers, in words, and how to tell.
ANSWERS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "prun_describe_runtime": ("a RuntimeInfo", lambda answer: isinstance(answer, RuntimeInfo)),
    "prun_resolve_image": ("an Image", lambda answer: isinstance(answer, Image) and isinstance(answer.config, dict)),
    "prun_prepare_rootfs": ("a Rootfs", _has("__enter__", "__exit__", "leave", "read", "stat")),
    "prun_spec_opts": ("a list of functions", _is_list_of(callable)),
    "prun_mounts": ("a list of Mounts", _is_list_of(_is_mount)),
    "prun_check_spec": ("a list of Problems", _is_list_of(_is_problem)),
    "prun_plan_steps": ("a list of PlanSteps", _is_list_of(_is_step)),
    "prun_open_console": ("a Console", _has("__enter__", "__exit__", "attach", "follow", "output")),
    "prun_create_task": ("a Task", _has(*_TASK)),
    "prun_load_task": ("a Task", _has(*_TASK)),
    "prun_event": ("nothing", _is_ignored),
}
