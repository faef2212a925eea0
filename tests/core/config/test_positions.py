"""Where keys and values stand, held against tomli's own reading of the same text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from prun.config.positions import Span, positions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prun.config.positions import Path


def paths(value: Any, at: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every key and every item of what tomli read."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        yield (*at, key), each
        yield from paths(each, (*at, key))


def agrees(text: str) -> None:
    """Each key of tomli's is found where it is written, each value is what stands at its place, and nothing else is."""
    expected = dict(paths(tomli.loads(text)))
    found = positions(text)
    assert set(found.keys) | set(found.values) == set(expected)
    for path, span in found.keys.items():
        word = next(part for part in reversed(path) if isinstance(part, str))
        assert tomli.loads(f"{text[slice(*span)]} = 1") == {word: 1}
    for path, span in found.values.items():
        assert tomli.loads(f"x = {text[slice(*span)]}")["x"] == expected[path]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n\n  # [a]\n",
        "a = 1\nb=2 # x = 3\n\tc = 'it'",
        "a.b.c = 1\na.b.d = 2\na.'e f'.\"g\" = 3",
        '"a.b" = 1\n"" = 2\n"\\u00e9\\"]" = 3\n\'c\\d\' = 4',
        "[a]\nb = 1\n[a.c]\nd = 2\n[ e . 'f' ]\ng.h = 3",
        "[[a]]\nb = 1\n[[a]]\nb = 2\n[a.c]\nd = 3\n[[a.e]]\n[[a.e]]\nf = 4\n[[a]]\n[[a.e]]\nf=5",
        "a = [1, [2, 3], {b = 4, c.d = [5]},\n # [6]\n 'x]', # y\n]\nz = 1",
        "a = {b = 'x, c = 1', d = {e = \"}\"}}\nf = {}\ng = []",
        'a = """\nb = 1\n[c]\n\\""" ""\\"\n""""\nd = 1',
        "a = '''\nb = 1\n[c]\n'' x'''''\nd = 1",
        'a = """"""\nb = "\\"" # "\nc = \'\'\'\'\'\'',
        "a = 1979-05-27 07:32:00\nb = [1979-05-27T07:32:00Z , 07:32:00]\nc = +1_000 # n\nd = [true,false]\ne=-inf",
        "a = 1\r\n[b]\r\nc = [\r\n  2,\r\n  3\r\n]\r\nd = '''\r\nx'''\r\n",
        "a = 'é\u2028 = 5'\nb = 1",
    ],
)
def test_every_way_to_write_a_key_and_a_value(text: str) -> None:
    agrees(text)


def test_lines_and_columns_count_from_one() -> None:
    text = "'é' = 'ü'\r\n[run.web]\n  image = 'x'\n"
    found = positions(text)
    assert found.place(found.keys["run", "web"].start) == (2, 6)
    assert found.place(found.values["run", "web", "image"].start) == (3, 11)
    assert found.place(found.values["é",].start) == (1, 7)
    assert positions("a = 1").values == {("a",): Span(4, 5)}


BARE = st.text("abcXYZ019_-", min_size=1, max_size=4)
KEY = st.one_of(BARE, BARE, st.text(max_size=4))
SCALAR = st.one_of(
    st.booleans(), st.integers(-99, 99), st.floats(allow_nan=False), st.datetimes(), st.dates(), st.text(max_size=9)
)
VALUE: st.SearchStrategy[Any] = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY, inner, max_size=3), max_leaves=12
)


class Writer:
    """Writes a document as a person would, every time otherwise."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw

    def _choose(self, *of: Any) -> Any:
        return self._draw(st.sampled_from(of))

    def key(self, word: str) -> str:
        ways = [_quoted(word)]
        if word and all(c.isascii() and (c.isalnum() or c in "_-") for c in word):
            ways += [word, word]
        if "'" not in word and word.isprintable():
            ways.append(f"'{word}'")
        return str(self._choose(*ways))

    def value(self, value: Any) -> str:
        blank = self._choose("", " ", "\t")
        if isinstance(value, dict):
            inner = f",{blank}".join(f"{blank}{self.key(k)}{blank}={blank}{self.value(v)}" for k, v in value.items())
            return f"{{{inner}{blank}}}"
        if isinstance(value, list):
            lines = self._choose("", " ", "\n", " # a, ] comment [\n", "\r\n")
            inner = f"{lines},{blank}".join(f"{lines}{self.value(each)}" for each in value)
            return f"[{inner}{self._choose('', ',') if value else ''}{lines}]"
        if isinstance(value, str):
            return self.text(value)
        return _scalar(value)

    def text(self, value: str) -> str:
        ways = [_quoted(value), f'"""\n{_quoted(value)[1:-1]}"""'.replace("\\n", self._choose("\n", "\\n"))]
        if "'" not in value and value.isprintable():
            ways += [f"'{value}'", f"'''{value}'''"]
        return str(self._choose(*ways))

    def table(self, table: dict[str, Any], names: tuple[str, ...] = ()) -> Iterator[str]:
        later = []
        for key, value in table.items():
            tables = isinstance(value, list) and value and all(isinstance(each, dict) for each in value)
            if (isinstance(value, dict) or tables) and self._choose(True, False):
                later.append((key, value))
            elif isinstance(value, dict) and value and self._choose(True, False):
                yield from self.dotted(self.key(key), value)
            else:
                yield f"{self._choose('', '  ')}{self.key(key)} = {self.value(value)}{self._choose('', ' # = [x]')}"
        for key, value in later:
            path = (*names, self.key(key))
            for each in value if isinstance(value, list) else [value]:
                yield ("[[{}]]" if isinstance(value, list) else "[{}]").format(self._choose(".", " . ").join(path))
                yield from self.table(each, path)

    def dotted(self, prefix: str, table: dict[str, Any]) -> Iterator[str]:
        for key, value in table.items():
            yield f"{prefix}.{self.key(key)} = {self.value(value)}"


def _quoted(text: str) -> str:
    special = {'"': '\\"', "\\": "\\\\", "\n": "\\n"}
    plain = (special.get(c) or (c if c.isprintable() else f"\\U{ord(c):08x}") for c in text)
    return f'"{"".join(plain)}"'


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if hasattr(value, "isoformat") else repr(value)


@st.composite
def documents(draw: st.DrawFn) -> str:
    table = draw(st.dictionaries(KEY, VALUE, max_size=4))
    return draw(st.sampled_from(["\n", "\r\n", "\n\n# x\n"])).join(Writer(draw).table(table))


def _surrogates(text: str) -> bool:
    return any("\ud800" <= c <= "\udfff" for c in text)


@given(documents())
def test_any_document_has_its_keys_and_values_where_tomli_reads_them(text: str) -> None:
    if not _surrogates(text):
        agrees(text)


@given(st.text("ab=[]{}.,#'\"\\\n\r 1", max_size=40))
def test_any_text_is_read_to_its_end(text: str) -> None:
    found = positions(text)
    try:
        tomli.loads(text)
    except tomli.TOMLDecodeError:
        assert all(0 <= span.start <= len(text) for span in (*found.keys.values(), *found.values.values()))
    else:
        agrees(text)


def test_a_deep_nest_is_no_recursion_without_an_end() -> None:
    positions("a = " + "[" * 100_000)
    positions("a = " + "{a=" * 100_000)
