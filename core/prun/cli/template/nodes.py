"""What a template is made of.  ``at`` is where in the text something begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from prun.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Sequence


class Field(NamedTuple):
    """``.A.B`` of the dot, of a variable (``$x.A``; ``$`` is the whole record), or of a pipeline (``(f .X).A``)."""

    names: tuple[str, ...]
    at: int
    of: str | Pipeline = ""


class Constant(NamedTuple):
    """A string, a number, a boolean or nil."""

    value: str | float | bool | None
    at: int


class Function(NamedTuple):
    """A function's name, as the first word of a command or as an argument without arguments of its own."""

    name: str
    at: int


class Pipeline(NamedTuple):
    """Commands, each the last argument of the next, and the variables that are to have the value.

    ``declares``: they are new (``$x :=``), or else there already (``$x =``).
    """

    commands: tuple[Command, ...]
    at: int
    variables: tuple[str, ...] = ()
    declares: bool = True


Operand = Field | Constant | Function | Pipeline
# An operand and its arguments.
Command = tuple[Operand, ...]


class Text(NamedTuple):
    """What is copied."""

    text: str


class Action(NamedTuple):
    """A pipeline whose value is printed, unless it goes to variables."""

    pipeline: Pipeline


class Block(NamedTuple):
    """``if``, ``with`` or ``range``, and what follows its ``else``."""

    kind: Literal["if", "with", "range"]
    pipeline: Pipeline
    body: Sequence[Node]
    otherwise: Sequence[Node]


class Leave(NamedTuple):
    """``break`` or ``continue``."""

    kind: Literal["break", "continue"]


Node = Text | Action | Block | Leave


def fault(text: str, at: int, message: str, hint: str = "") -> InvalidArgument:
    """Return an error that says where in a template of ``text`` it is."""
    line = text.count("\n", 0, at) + 1
    column = at - text.rfind("\n", 0, at)
    where = f"{line}:{column}" if "\n" in text else f"column {column}"
    return InvalidArgument(f"--format, {where}: {message}", hint=hint)
