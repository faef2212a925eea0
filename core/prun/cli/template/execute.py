"""A template's nodes over one record."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from prun.cli.template.functions import BadUse
from prun.cli.template.nodes import Action, Block, Constant, Field, Function, Leave, Text, fault
from prun.cli.template.values import MISSING, Heading, Headings, Pairs, heading, is_true, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prun.cli.template.nodes import Command, Node, Operand, Pipeline

# The first command of a pipeline is given nothing.
_NOTHING = object()


class Execution:
    """One rendering: the text for messages, the record, how to show what is the record's, the functions there are."""

    def __init__(
        self, text: str, data: object, escape: Callable[[str], str], functions: Mapping[str, Callable[..., object]]
    ) -> None:
        self._text = text
        self._escape = escape
        self._functions = functions
        self._variables: list[tuple[str, object]] = [("$", data)]
        self._out: list[str] = []

    def run(self, nodes: Sequence[Node]) -> str:
        """Return what the nodes print; once only."""
        self._nodes(nodes, self._variables[0][1])
        return "".join(self._out)

    def _nodes(self, nodes: Sequence[Node], dot: object) -> str:
        """Print nodes; return ``break`` or ``continue`` when that was met, which the range around it understands."""
        for node in nodes:
            left = ""
            match node:
                case Text(text):
                    self._out.append(text)
                case Action(pipeline):
                    value = self._pipeline(pipeline, dot)
                    if not pipeline.variables:
                        own = all(isinstance(each, Constant) for command in pipeline.commands for each in command)
                        self._out.append(shown(value) if own else self._escape(shown(value)))
                case Block():
                    left = self._block(node, dot)
                case Leave(kind):
                    left = kind
            if left:
                return left
        return ""

    def _block(self, block: Block, dot: object) -> str:
        known = len(self._variables)
        value = self._pipeline(block.pipeline, dot, store=block.kind != "range")
        if block.kind == "range":
            left = self._range(block, value, dot)
        elif is_true(value):
            left = self._nodes(block.body, value if block.kind == "with" else dot)
        else:
            left = self._nodes(block.otherwise, dot)
        del self._variables[known:]
        return left

    def _range(self, block: Block, value: object, dot: object) -> str:
        known = len(self._variables)
        names = block.pipeline.variables
        empty = True
        for key, item in self._items(block.pipeline, value):
            empty = False
            given = (item,) if len(names) == 1 else (key, item)
            self._store(names, given[: len(names)], declares=block.pipeline.declares)
            left = self._nodes(block.body, item)
            del self._variables[known:]
            if left == "break":
                break
        return self._nodes(block.otherwise, dot) if empty else ""

    def _items(self, pipeline: Pipeline, value: object) -> Iterable[tuple[object, object]]:
        if value is None or value is MISSING:
            return ()
        if isinstance(value, Mapping):
            return sorted(value.items())
        if isinstance(value, Heading):
            return [(0, value)]
        if isinstance(value, Sequence) and not isinstance(value, str):
            return enumerate(value)
        raise fault(self._text, pipeline.at, f"range cannot go over {shown(value)}", "it goes over lists and objects")

    def _pipeline(self, pipeline: Pipeline, dot: object, *, store: bool = True) -> object:
        value: object = _NOTHING
        for command in pipeline.commands:
            value = self._command(command, dot, value)
        if store and pipeline.variables:
            self._store(pipeline.variables, (value,), declares=pipeline.declares)
        return value

    def _store(self, names: Sequence[str], values: Sequence[object], *, declares: bool) -> None:
        for name, value in zip(names, values, strict=True):
            if declares:
                self._variables.append((name, value))
            else:
                at = max(i for i, (known, _) in enumerate(self._variables) if known == name)
                self._variables[at] = (name, value)

    def _command(self, command: Command, dot: object, last: object) -> object:
        first, *rest = command
        more = () if last is _NOTHING else (last,)
        if isinstance(first, Function):
            return self._call(first, rest, dot, more)
        if isinstance(first, Field) and first.names[-1:] == ("Label",) and (rest or more):
            # docker's one method: {{.Label "key"}}
            labels = self._value(first._replace(names=(*first.names[:-1], "Labels")), dot)
            return self._call(Function("index", first.at), rest, dot, more, before=(labels,))
        if rest or more:
            raise fault(self._text, first.at, f"{self._word(first)} is no function, and takes no arguments")
        return self._value(first, dot)

    def _value(self, operand: Operand, dot: object) -> object:
        match operand:
            case Constant(value):
                return value
            case Function():
                return self._call(operand, (), dot, ())
            case Field(names, at, of):
                found = dot if of == "" else self._variable(of) if isinstance(of, str) else self._pipeline(of, dot)
                for name in names:
                    found = self._field(found, name, at)
                return found
            case _:
                return self._pipeline(operand, dot)

    def _variable(self, wanted: str) -> object:
        return next(value for name, value in reversed(self._variables) if name == wanted)

    def _field(self, value: object, name: str, at: int) -> object:
        if isinstance(value, Heading | Headings):
            return Heading(value[name] if isinstance(value, Headings) else heading(name))
        if isinstance(value, Pairs):
            return value.get(name, MISSING)
        if isinstance(value, Mapping):
            if name in value:
                return value[name]
            fields = [key for key in value if isinstance(key, str)]
            near = {field.lower(): field for field in fields}
            close = difflib.get_close_matches(name.lower(), near, n=1, cutoff=0.5)
            hint = f"did you mean .{near[close[0]]}? " if close else ""
            raise fault(self._text, at, f"there is no field .{name}", f"{hint}there are {', '.join(sorted(fields))}")
        what = "null" if value is None else "<no value>" if value is MISSING else shown(value)
        raise fault(self._text, at, f"{what} has no field .{name}", "with and if tell whether something is there")

    def _call(
        self, function: Function, rest: Sequence[Operand], dot: object, more: tuple[object, ...],
        before: tuple[object, ...] = (),
    ) -> object:  # fmt: skip
        if function.name in ("and", "or"):
            return self._decided(function, rest, dot, more)
        values = (*before, *(self._value(each, dot) for each in rest), *more)
        try:
            return self._functions[function.name](*values)
        except BadUse as error:
            raise fault(self._text, function.at, f"{function.name}: {error}") from error
        except TypeError as error:
            if error.__traceback__ and error.__traceback__.tb_next:
                raise  # from within
            count = f"{len(values)} argument{'' if len(values) == 1 else 's'}"
            raise fault(self._text, function.at, f"{function.name} does not take {count}") from error

    def _decided(self, function: Function, rest: Sequence[Operand], dot: object, more: tuple[object, ...]) -> object:
        """Return the first value that decides, or the last: what follows is not looked at."""
        if not rest and not more:
            raise fault(self._text, function.at, f"{function.name} takes arguments")
        value: object = None
        for operand in rest:
            value = self._value(operand, dot)
            if is_true(value) == (function.name == "or"):
                return value
        return more[0] if more else value

    def _word(self, operand: Operand) -> str:
        return f".{'.'.join(operand.names)}" if isinstance(operand, Field) and not operand.of else "the value"
