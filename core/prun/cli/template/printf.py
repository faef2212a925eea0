"""Go's printf, with the verbs that make sense for values of JSON.

https://pkg.go.dev/fmt@go1.23.0: what cannot be formatted is said in the output, as Go does, and is no error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from prun.cli.template.values import Bytes, shown, shown_float

_VERB = re.compile(r"%([-+# 0]*)(\*|\d*)(?:\.(\*|\d*))?(.)?", re.DOTALL)
# Go's own bound of width and precision.
_WIDEST = 1_000_000


def printf(form: str, values: Sequence[object]) -> str:
    """Return ``form`` with its verbs replaced by the values, one after another.

    >>> printf("%-5s|%5.1f|%03d|%q", ["ab", 2.25, 7, 'x"'])
    'ab   |  2.2|007|"x\\\\""'
    """
    left = list(values)

    def replaced(match: re.Match[str]) -> str:
        flags, width, precision, verb = match.groups()
        if verb is None:
            return "%!(NOVERB)"
        if verb == "%":
            return "%"
        sizes: list[int | None] = []
        for word in (width, precision):
            if word == "*":
                value = left.pop(0) if left else None
                if not isinstance(value, int) or abs(value) > _WIDEST:
                    return "%!(BADWIDTH)"
                sizes.append(value)
            else:
                number = int(word or 0)
                if number > _WIDEST:
                    return "%!(BADWIDTH)"
                sizes.append(number if word or (word is precision and word is not None) else None)
        if not left:
            return f"%!{verb}(MISSING)"
        wide, digits = sizes
        if wide is not None and wide < 0:
            flags, wide = flags + "-", -wide
        return _padded(_formatted(left.pop(0), flags, verb, digits), flags, wide or 0, verb)

    text = _VERB.sub(replaced, form)
    if left:
        text += f"%!(EXTRA {', '.join(f'{_type(value)}={shown(value)}' for value in left)})"
    return text


def _padded(text: str, flags: str, width: int, verb: str) -> str:
    if "-" in flags:
        return text.ljust(width)
    if "0" in flags:
        sign = text[:1] if text[:1] in ("+", "-", " ") and verb not in "sq" else ""
        return sign + text[len(sign) :].rjust(width - len(sign), "0")
    return text.rjust(width)


def _formatted(value: object, flags: str, verb: str, digits: int | None) -> str:
    """Return one value without its padding."""
    if verb == "T":
        return _type(value)
    if isinstance(value, bool):
        return shown(value) if verb in "tv" else _bad(value, verb)
    if verb == "v":
        return _go_syntax(value) if "#" in flags else shown(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{' '.join(_formatted(each, flags, verb, digits) for each in value)}]"
    if isinstance(value, Mapping):
        pairs = [[_formatted(each, flags, verb, digits) for each in pair] for pair in sorted(value.items())]
        return f"map[{' '.join(map(':'.join, pairs))}]"
    if isinstance(value, Bytes) and verb in "sq":
        value = str(value)
    if isinstance(value, str):
        return _string(value, flags, verb, digits)
    if isinstance(value, int):
        return _integer(int(value), flags, verb, digits)
    if isinstance(value, float) and verb in "eEfFgG":
        return _float(value, flags, verb, digits)
    return _bad(value, verb)


def _string(value: str, flags: str, verb: str, digits: int | None) -> str:
    cut = value if digits is None else value[:digits]
    if verb == "s":
        return cut
    if verb == "q":
        return f"`{cut}`" if "#" in flags and "`" not in cut and cut.isprintable() else quoted(cut)
    if verb in "xX":
        data = cut.encode(errors="surrogateescape")
        text = ("0x" if "#" in flags else "") + (data.hex(" ") if " " in flags else data.hex())
        return text.upper() if verb == "X" else text
    return _bad(value, verb)


def _integer(value: int, flags: str, verb: str, digits: int | None) -> str:
    if verb in "dxXobO":
        prefix = {"x": "0x", "X": "0X", "o": "0", "b": "0b"}.get(verb, "") if "#" in flags else ""
        prefix = "0o" if verb == "O" else prefix
        sign = "-" if value < 0 else "+" if "+" in flags else " " if " " in flags else ""
        return f"{sign}{prefix}{format(abs(value), verb.replace('O', 'o')).rjust(digits or 0, '0')}"
    if verb in "cq" and 0 <= value <= 0x10FFFF:
        return chr(value) if verb == "c" else f"'{quoted(chr(value))[1:-1]}'"
    return f"U+{value:04X}" if verb == "U" else _bad(value, verb)


def _float(value: float, flags: str, verb: str, digits: int | None) -> str:
    sign = "+" if "+" in flags and value >= 0 else " " if " " in flags and value >= 0 else ""
    if verb in "gG" and digits is None:
        text = shown_float(value)
        return sign + (text.upper() if verb == "G" else text)
    return f"{sign}{value:.{6 if digits is None else digits}{verb}}"


def quoted(text: str) -> str:
    r"""Return a string as Go's strconv.Quote writes it.

    >>> quoted("a\tb\x1b")
    '"a\\tb\\x1b"'
    """
    out = ""
    for letter in text:
        if letter in '"\\':
            out += f"\\{letter}"
        elif letter in "\a\b\f\v":
            out += {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\v": "\\v"}[letter]
        else:
            out += letter if letter.isprintable() else letter.encode("unicode_escape", "backslashreplace").decode()
    return f'"{out}"'


def _go_syntax(value: object) -> str:
    return quoted(value) if isinstance(value, str) else json.dumps(value) if value is not None else "<nil>"


def _bad(value: object, verb: str) -> str:
    return f"%!{verb}({_type(value)}={shown(value)})" if value is not None else f"%!{verb}(<nil>)"


def _type(value: object) -> str:
    """Return the name Go would have for its type."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int):
        return "int"
    if isinstance(value, float):
        return "float64"
    if isinstance(value, Mapping):
        return "map[string]interface {}"
    return "<nil>" if value is None else "[]interface {}"
