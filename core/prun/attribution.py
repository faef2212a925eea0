"""Which plugin each item of a hook's answers comes from, and the line that made it: what pluggy does not say.

Only for who asks (``prun explain``, ``prun run --explain``): the hookimpls of one hook are watched during one call.
"""

# As in prun.types: no `from __future__ import annotations`.

import sys
from _thread import allocate_lock, get_ident  # what threading is made of, without its 0.5 ms
from collections.abc import Callable, Generator, Sequence
from types import CodeType, FrameType, FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pluggy import HookImpl

_ONE_AT_A_TIME = allocate_lock()


class Attributed(NamedTuple):
    """An item of an answer, the plugin that answered it, and where that made it (``module:line``).

    ``factory`` is the function that it was made by, empty where none was called: of an option that is one itself.
    """

    item: Any
    plugin: str
    where: str
    factory: str = ""


def attributed(
    impls: Sequence[Any], call: Callable[[], list[Any]], *, every_line: bool, lines: bool = True
) -> list[Attributed]:
    """Call a hook, and return the items of its answer with their plugins.

    ``impls`` are its hookimpls.  What a wrapper puts in is the wrapper's; what it passes on stays that of the plugin
    inside.  ``every_line``: of the built-in tiers, too, look for the line that makes each item, which takes 1 ms; else
    it is that of their hookimpl.  Without ``lines`` it is so of plugins, too.
    """
    watch = _Watch(impls, every_line, lines)
    with _ONE_AT_A_TIME:
        functions = [impl.function for impl in impls]
        try:
            for impl in impls:
                impl.function = watch.watched(impl)
            items = call()
        finally:
            for impl, function in zip(impls, functions, strict=True):
                impl.function = function
    return [watch.owner(item) for item in items]


class _Watch:
    """What one call of a hook was answered, by the thread that made it."""

    def __init__(self, impls: "Sequence[HookImpl]", every_line: bool, lines: bool) -> None:
        self._every_line = every_line
        self._lines = lines
        self._thread = get_ident()
        self._owners: dict[int, list[Attributed]] = {}
        # By id: the option, which while it is there leaves its id to no other, the factory's name and who called it.
        self._made: dict[int, tuple[FunctionType, str, str]] = {}
        self._wrappers = [impl.plugin_name for impl in impls if impl.wrapper or impl.hookwrapper]

    def owner(self, item: object) -> Attributed:
        """Return whose an item is; one object that several have answered is theirs in turn."""
        owners = self._owners.get(id(item))
        if not owners:  # a wrapper of pluggy's old style has put it in, which returns nothing
            return Attributed(item, ", ".join(self._wrappers), "")
        return owners.pop(0) if len(owners) > 1 else owners[0]

    def watched(self, impl: "HookImpl") -> Callable[..., Any]:
        """Return what notes whose the items of a hookimpl's answer are, in the place of its function."""
        function: Callable[..., Any] = impl.function
        name = impl.plugin_name

        def plain(*arguments: object) -> object:
            if get_ident() != self._thread:
                return function(*arguments)
            looked_at = self._lines and (self._every_line or not _comes_with_prun(name))
            answer = self._traced(function, arguments) if looked_at else function(*arguments)
            for item in answer if isinstance(answer, list) else ():
                # The most general plugin is asked last, and its items come first.
                self._owners.setdefault(id(item), []).insert(0, self._attributed(item, name, function))
            return answer

        def wrapper(*arguments: object) -> Generator[None, Any, object]:
            inner: Generator[None, Any, object] = function(*arguments)
            answer = yield from inner
            if get_ident() == self._thread and isinstance(answer, list):
                for item in [item for each in answer if isinstance(each, list) for item in each]:
                    if id(item) not in self._owners:
                        self._owners[id(item)] = [self._attributed(item, name, function)]
            return answer

        return wrapper if impl.wrapper or impl.hookwrapper else plain

    def _attributed(self, item: object, plugin: str, function: Callable[..., Any]) -> Attributed:
        _, factory, where = self._made.get(id(item), (None, "", ""))
        return Attributed(item, plugin, where or place_of(function), factory)

    def _traced(self, call: Callable[..., Any], arguments: tuple[object, ...]) -> Any:
        """Call, and note which line has called the factory of each option: the option itself does not know.

        Only functions that have a function in them are looked at.  A factory that calls another of its module is the
        one that counts.
        """
        made, makes, before = self._made, _MAKES, sys.gettrace()

        def entered(frame: FrameType, event: str, _: object) -> object:
            code = frame.f_code
            if code not in makes:
                inner = [each.co_name for each in code.co_consts if type(each) is CodeType]
                makes[code] = code.co_name.startswith("with_") or any(name[0] != "<" for name in inner)
            if not makes[code] or event != "call":
                return None
            frame.f_trace_lines = False
            return left

        def left(frame: FrameType, event: str, value: object) -> None:
            if event != "return" or type(value) is not FunctionType or frame.f_back is None:
                return
            if id(value) not in made or frame.f_code.co_filename == value.__code__.co_filename:
                caller = frame.f_back
                where = f"{caller.f_globals.get('__name__', '?')}:{caller.f_lineno}"
                made[id(value)] = (value, frame.f_code.co_name, where)

        sys.settrace(entered)  # type: ignore[arg-type]  # typeshed wants functions that return themselves
        try:
            return call(*arguments)
        finally:
            sys.settrace(before)


# Of code: whether there is a function in it, which it may make and return.
_MAKES: dict[CodeType, bool] = {}


def _comes_with_prun(plugin: str) -> bool:
    return plugin in ("defaults", "flags") or plugin.startswith(("runtime ", "engine "))


def place_of(function: object) -> str:
    """Return where a function is defined, ``module:line``."""
    function = getattr(function, "__wrapped__", function)
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return f"{getattr(function, '__module__', '?')}:{code.co_firstlineno if code else 0}"
