"""Compare hookimpls with their hookspecs, types included."""

from __future__ import annotations

import ast
import inspect
from typing import TYPE_CHECKING, Any

from prun import hookspecs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# What the two markers of prun._marker leave on a function.
SPECS: dict[str, Callable[..., Any]] = {
    name: function for name, function in vars(hookspecs).items() if hasattr(function, "prun_spec")
}


def check_plugin(plugin: object) -> list[str]:
    """Return one line for everything that is wrong with the hookimpls of a module, a class or an object.

    Every hookimpl must be of a known hook, take only its arguments, give none a default value, repeat the hookspec's
    annotations and return what the hookspec returns (``X`` does for ``X | None``).
    """
    problems = []
    for name, function in inspect.getmembers(plugin, inspect.isroutine):
        options = getattr(function, "prun_impl", None)
        if options is not None:
            hook = options.get("specname") or name
            problems += [f"{name}: {problem}" for problem in _problems(hook, function, options)]
        elif name.startswith("prun_") and name != "prun_configure":
            problems.append(f"{name}: not marked with @hookimpl, it would never be called")
    return problems


def _problems(hook: str, function: Callable[..., object], options: dict[str, object]) -> Iterator[str]:
    if hook not in SPECS:
        yield "there is no such hook"
        return
    wrapper = bool(options.get("wrapper") or options.get("hookwrapper"))
    if inspect.iscoroutinefunction(function):
        yield "is async; hooks are called without an event loop"
    if inspect.isgeneratorfunction(function) and not wrapper:
        yield "yields, but is not marked with @hookimpl(wrapper=True)"
    wanted, found = inspect.signature(SPECS[hook]), inspect.signature(function)
    for parameter in found.parameters.values():
        if parameter.name == "self":
            continue
        yield from _problems_of_argument(parameter, wanted)
    allowed = _returns(wanted, first=bool(_spec_options(hook).get("firstresult")), wrapper=wrapper)
    if _normal(found.return_annotation) not in allowed:
        yield f"returns {_shown(found.return_annotation)}, the hook wants {allowed[0]}"


def _problems_of_argument(parameter: inspect.Parameter, wanted: inspect.Signature) -> Iterator[str]:
    if parameter.name not in wanted.parameters or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        known = ", ".join(wanted.parameters) or "none"
        yield f"the hook has no argument {str(parameter).partition(':')[0]!r}, it has {known}"
        return
    if parameter.default is not parameter.empty:
        yield f"argument {parameter.name!r} has a default value, which pluggy before 1.7 would use"
    annotation = wanted.parameters[parameter.name].annotation
    if _normal(parameter.annotation) != _normal(annotation):
        yield f"argument {parameter.name!r} is {_shown(parameter.annotation)}, the hook gives {annotation}"


def _returns(wanted: inspect.Signature, *, first: bool, wrapper: bool) -> list[str]:
    """Return the annotations that fit, the plainest first."""
    answer = _normal(wanted.return_annotation)
    if not first:
        return [f"Generator[None, list[{answer}], list[{answer}]]"] if wrapper else [answer]
    sure = answer.removesuffix(" | None")
    if wrapper:
        return [f"Generator[None, {answer}, {returned}]" for returned in (answer, sure)]
    return [answer, sure, "None"]


def _spec_options(hook: str) -> dict[str, object]:
    options: dict[str, object] = SPECS[hook].prun_spec  # type: ignore[attr-defined]  # set by pluggy's marker
    return options


def _shown(annotation: object) -> str:
    return "not annotated" if annotation is inspect.Signature.empty else _normal(annotation)


def _normal(annotation: object) -> str:
    """Write an annotation in one way: no module names, no quotes, ``X | None`` for ``Optional[X]``.

    Names are not looked up, since those of a hookspec exist for type checkers only.
    """
    if annotation is inspect.Signature.empty:
        return ""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    try:
        return ast.unparse(_Plain().visit(ast.parse(text.strip(), mode="eval")))
    except SyntaxError:
        return text


class _Plain(ast.NodeTransformer):
    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        return ast.Name(node.attr)

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if isinstance(node.value, str):
            return self._plain(ast.parse(node.value, mode="eval").body)
        return node

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        value, inner = self._plain(node.value), self._plain(node.slice)
        if isinstance(value, ast.Name) and value.id == "Optional":
            return ast.BinOp(inner, ast.BitOr(), ast.Constant(None))
        return ast.Subscript(value, inner)

    def _plain(self, node: ast.expr) -> ast.expr:
        result: ast.expr = self.visit(node)
        return result
