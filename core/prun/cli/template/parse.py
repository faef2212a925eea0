"""Words become nodes."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Literal, cast

from prun.cli.template.lex import number, unquoted, words
from prun.cli.template.nodes import Action, Block, Constant, Field, Function, Leave, Pipeline, Text, fault

if TYPE_CHECKING:
    from collections.abc import Collection

    from prun.cli.template.lex import Word
    from prun.cli.template.nodes import Command, Node, Operand
    from prun.errors import InvalidArgument

_CONSTANTS = {"true": True, "false": False, "nil": None}
_UNSUPPORTED = frozenset(("define", "template", "block"))
# Blocks and parentheses in each other; Python's own stack is not endless.
_DEEPEST = 50


class Parser:
    """Parses one text, once; ``functions`` are the names of those there are."""

    def __init__(self, text: str, functions: Collection[str]) -> None:
        self._text = text
        self._functions = functions
        self._words = list(words(text))
        self._next = 0
        self._depth = 0
        self._variables = ["$"]

    def parsed(self) -> tuple[Node, ...]:
        """Return the nodes of the whole text."""
        nodes, stop = self._nodes(in_range=False)
        if stop:
            raise self._fault(stop, f"unexpected {stop.text}")
        return nodes

    def _nodes(self, *, in_range: bool) -> tuple[tuple[Node, ...], Word | None]:
        """Parse up to the ``end`` or the ``else`` of who calls, and return that word; its action is still open."""
        found: list[Node] = []
        while self._next < len(self._words):
            word = self._take()
            if word.kind == "text":
                found.append(Text(word.text))
                continue
            keyword = self._peek()
            if keyword.kind == "name" and keyword.text in ("end", "else"):
                return tuple(found), self._take()
            if keyword.kind == "name" and keyword.text in ("if", "with", "range"):
                found.append(self._block(self._take(), in_range=in_range))
            elif keyword.kind == "name" and keyword.text in ("break", "continue") and in_range:
                found.append(Leave(cast("Literal['break', 'continue']", self._take().text)))
                self._close()
            else:
                found.append(Action(self._declaration()))
                self._close()
        return tuple(found), None

    def _block(self, keyword: Word, *, in_range: bool) -> Block:
        """Parse a block from behind its first word to behind its end."""
        self._deeper(keyword)
        known = len(self._variables)
        kind = cast("Literal['if', 'with', 'range']", keyword.text)
        pipeline = self._declaration(most=2 if kind == "range" else 1)
        self._close()
        body, stop = self._nodes(in_range=in_range or kind == "range")
        otherwise: tuple[Node, ...] = ()
        if stop and stop.text == "else" and self._peek()[:2] == ("name", kind) and kind != "range":
            otherwise = (self._block(self._take(), in_range=in_range),)  # it has the end that is ours too
        else:
            if stop and stop.text == "else":
                self._close()
                otherwise, stop = self._nodes(in_range=in_range)
            if not stop or stop.text == "else":
                raise self._fault(stop or keyword, f"{kind} has a second else" if stop else f"{kind} has no end")
            self._close()
        del self._variables[known:]
        self._depth -= 1
        return Block(kind, pipeline, body, otherwise)

    def _declaration(self, most: int = 1) -> Pipeline:
        """Parse a pipeline that may go to a variable, or, in a range, to ``most`` of them."""
        names: list[str] = []
        start = self._next
        while self._peek().kind == "variable":
            names.append(self._take().text)
            sign = self._peek().text
            if sign == ",":
                if len(names) == most:
                    raise self._fault(self._peek(), "too many variables")
                self._take()
                continue
            if sign in (":=", "="):
                self._take()
                pipeline = self._pipeline()._replace(variables=tuple(names), declares=sign == ":=")
                for name in names if sign == "=" else ():
                    self._defined(name, self._words[start])
                self._variables += names if sign == ":=" else ()
                return pipeline
            break
        self._next = start
        return self._pipeline()

    def _pipeline(self) -> Pipeline:
        at = self._peek().at
        commands = [self._command()]
        while self._peek().text == "|":
            self._take()
            commands.append(self._command())
            if isinstance(commands[-1][0], Constant):
                raise fault(self._text, commands[-1][0].at, "what follows | takes an argument: no constant does")
        return Pipeline(tuple(commands), at)

    def _command(self) -> Command:
        operands: list[Operand] = []
        while self._peek().kind != "end" and self._peek().text not in ("|", ")"):
            if operands and self._peek().glued:
                raise self._fault(self._peek(), f"unexpected {self._peek().text!r}")
            operands.append(self._operand())
        if not operands:
            raise self._fault(self._peek(), "a value is missing")
        if isinstance(operands[0], Constant) and (len(operands) > 1 or operands[0].value is None):
            message = "a constant takes no arguments" if len(operands) > 1 else "nil is nothing to print"
            raise fault(self._text, operands[0].at, message)
        return tuple(operands)

    def _operand(self) -> Operand:
        """Parse a value and the fields that hang on it."""
        word = self._take()
        match word.kind:
            case "string":
                return Constant(unquoted(self._text, word), word.at)
            case "number":
                return Constant(number(self._text, word), word.at)
            case "rune" if len(rune := unquoted(self._text, word)) == 1:
                return Constant(ord(rune), word.at)
            case "name" if word.text in _CONSTANTS:
                return Constant(_CONSTANTS[word.text], word.at)
            case "name" if word.text in self._functions:
                return Function(word.text, word.at)
            case "dot":
                return Field((), word.at)
            case "field":
                return Field((word.text[1:], *self._fields()), word.at)
            case "variable":
                self._defined(word.text, word)
                return Field(self._fields(), word.at, word.text)
            case "sign" if word.text == "(":
                self._deeper(word)
                inner = self._pipeline()
                if self._take().text != ")":
                    raise self._fault(word, "the parenthesis is not closed")
                self._depth -= 1
                names = self._fields()
                return Field(names, word.at, inner) if names else inner
        raise self._unknown(word)

    def _fields(self) -> tuple[str, ...]:
        names: list[str] = []
        while self._peek().kind == "field" and self._peek().glued:
            names.append(self._take().text[1:])
        return tuple(names)

    def _defined(self, name: str, word: Word) -> None:
        if name not in self._variables:
            raise self._fault(word, f"variable {name} is not defined", f"there are {', '.join(self._variables)}")

    def _deeper(self, word: Word) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._fault(word, "blocks and parentheses are too deep in each other")

    def _close(self) -> None:
        word = self._take()
        if word.kind != "end":
            raise self._fault(word, f"unexpected {word.text!r}", "}} was expected")

    def _peek(self) -> Word:
        return self._words[self._next]  # what opens an action has its end: ``words`` sees to that

    def _take(self) -> Word:
        self._next += 1
        return self._words[self._next - 1]

    def _fault(self, word: Word, message: str, hint: str = "") -> InvalidArgument:
        return fault(self._text, word.at, message, hint)

    def _unknown(self, word: Word) -> InvalidArgument:
        if word.kind != "name":
            return self._fault(word, f"unexpected {word.text!r}")
        if word.text in _UNSUPPORTED:
            return self._fault(word, f"{word.text} is not supported: there is one template only")
        if word.text in ("break", "continue"):
            return self._fault(word, f"{word.text} is outside of a range")
        near = difflib.get_close_matches(word.text, self._functions, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(self._functions))}"
        if word.text[:1].isupper():
            hint = f"did you mean .{word.text}?"
        return self._fault(word, f"function {word.text!r} is not defined", hint)
