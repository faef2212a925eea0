"""The words of a shell's command line, without a shell: quotes, continued lines, and variables that stay variables.

``$NAME``, ``${NAME}``, ``${NAME:-DEFAULT}``, ``$(pwd)`` and ``~/`` become variables of ``prun.toml``; what would run
something, or go somewhere else, is refused by name.

See POSIX.1-2017, Shell Command Language, 2.2 and 2.6.
"""

from __future__ import annotations

import re

from prun.errors import InvalidArgument

_NAME = re.compile(r"\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)(:-[^}$`\"\\]*)?\})")
_PWD = re.compile(r"\$\(\s*pwd\s*\)|`\s*pwd\s*`")
_PLAIN = re.compile(r"[^\\'\"$`\s;|&<>()]+")
_HINT = "write its value, or put it in single quotes"


def template(text: str) -> str:
    """Return a literal text so that ``prun.config.variables.expand`` gives it back.

    >>> template("a $5 ${x} $$")
    'a $5 $${x} $$$'
    """
    return re.sub(r"\$(?=[${])", "$$", text)


def words_of(line: str) -> list[str]:
    """Return the words of one command, each with the variables that ``prun.toml`` has.

    Raises:
        InvalidArgument: a quote is not closed, or a shell is needed.
    """
    return _Line(line).words()


class _Line:
    def __init__(self, line: str) -> None:
        self._line = line.replace("\\\r\n", "").replace("\\\n", "")
        self._at = 0

    def words(self) -> list[str]:
        found: list[str] = []
        while True:
            self._skip_blanks(ended=bool(found))
            if self._at >= len(self._line):
                return found
            found.append(self._word())

    def _skip_blanks(self, *, ended: bool) -> None:
        line = self._line
        while self._at < len(line) and (line[self._at].isspace() or line[self._at] == "#"):
            if line[self._at] == "#":
                self._at = (line + "\n").index("\n", self._at)
            elif line[self._at] == "\n" and ended and line[self._at :].strip():
                after = line[self._at :].strip()
                if not all(each.strip().startswith("#") or not each.strip() for each in after.split("\n")):
                    raise InvalidArgument(f"there is more than one command: {after.split(chr(10))[0]!r}")
            self._at += 1

    def _word(self) -> str:
        pieces: list[tuple[bool, str]] = []  # whether it is a variable
        if self._line.startswith("~", self._at) and self._line[self._at + 1 : self._at + 2] in (
            "/",
            " ",
            ":",
            "",
            "\n",
        ):
            pieces.append((True, "${HOME}"))
            self._at += 1
        while self._at < len(self._line) and not self._line[self._at].isspace():
            self._piece(pieces)
        result = ""
        for index, (variable, text) in enumerate(pieces):
            follows = "$" if index + 1 < len(pieces) and pieces[index + 1][0] else ""
            result += text if variable else template(text + follows).removesuffix(follows)
        return result

    def _piece(self, pieces: list[tuple[bool, str]]) -> None:
        char = self._line[self._at]
        if plain := _PLAIN.match(self._line, self._at):
            self._add(pieces, plain[0])
            self._at = plain.end()
        elif char == "\\":
            self._add(pieces, self._line[self._at + 1 : self._at + 2])
            self._at += 2
        elif char == "'":
            end = self._closing("'")
            self._add(pieces, self._line[self._at + 1 : end])
            self._at = end + 1
        elif char == '"':
            self._quoted(pieces)
        elif char in "$`":
            self._variable(pieces)
        else:
            raise InvalidArgument(f"{char!r} in a command line is for a shell", hint=f"leave it out, or {_HINT}")

    def _quoted(self, pieces: list[tuple[bool, str]]) -> None:
        self._add(pieces, "")
        start, self._at = self._at, self._at + 1
        while not self._line.startswith('"', self._at):
            if self._at >= len(self._line):
                raise InvalidArgument(f"a quote is not closed: {self._line[start : start + 20]!r}")
            char = self._line[self._at]
            if char == "\\" and self._line[self._at + 1 : self._at + 2] in ("$", "`", '"', "\\"):
                self._add(pieces, self._line[self._at + 1])
                self._at += 2
            elif char in "$`":
                self._variable(pieces)
            else:
                self._add(pieces, char)
                self._at += 1
        self._at += 1

    def _variable(self, pieces: list[tuple[bool, str]]) -> None:
        if here := _PWD.match(self._line, self._at):
            pieces.append((True, "${PWD}"))
            self._at = here.end()
        elif named := _NAME.match(self._line, self._at):
            pieces.append((True, f"${{{named[1] or named[2]}{named[3] or ''}}}"))
            self._at = named.end()
        elif self._line[self._at] == "$" and self._line[self._at + 1 : self._at + 2] in (
            "",
            " ",
            "\n",
            '"',
            "/",
            ":",
            ".",
        ):
            self._add(pieces, "$")
            self._at += 1
        else:
            word = self._line[self._at : self._at + 20].split("\n")[0]
            raise InvalidArgument(f"{word!r} in a command line is for a shell", hint=_HINT)

    def _closing(self, quote: str) -> int:
        end = self._line.find(quote, self._at + 1)
        if end < 0:
            raise InvalidArgument(f"a quote is not closed: {self._line[self._at : self._at + 20]!r}")
        return end

    @staticmethod
    def _add(pieces: list[tuple[bool, str]], text: str) -> None:
        if pieces and not pieces[-1][0]:
            pieces[-1] = (False, pieces[-1][1] + text)
        else:
            pieces.append((False, text))
