"""docker's rules for the two arguments of cp, one case each."""

from __future__ import annotations

import pytest

from prun.errors import InvalidArgument, NotFound
from prun.files.paths import Argument, Found, Top, parse_argument, parse_arguments, top_of

DIRECTORY, FILE = Found("directory", b"d"), Found("file", b"d/f")
MISSING, OTHER = Found("missing", b"d/new"), Found("other", b"dev/null")


@pytest.mark.parametrize(
    ("word", "container", "path"),
    [
        ("c:/x", "c", "/x"), ("c:x:y", "c", "x:y"), ("/c:x", "", "/c:x"), ("./c:x", "", "./c:x"), ("-", "", "-"),
        ("file", "", "file"), ("../c:x", "", "../c:x"), ("c:", "c", ""), ("c:-", "c", "-"), (".", "", "."),
    ],
)  # fmt: skip
def test_a_word_names_a_container_unless_it_begins_like_a_path(word: str, container: str, path: str) -> None:
    assert parse_argument(word) == Argument(container, path)
    assert parse_argument(word).is_stream == (word == "-")


@pytest.mark.parametrize(("source", "target"), [("c:", "x"), ("x", "c:"), ("", "c:/x")])
def test_both_need_a_path(source: str, target: str) -> None:
    with pytest.raises(InvalidArgument, match="you must specify paths"):
        parse_arguments(source, target)


def test_one_is_of_a_container() -> None:
    with pytest.raises(InvalidArgument, match="at least one container"):
        parse_arguments("a", "b")


@pytest.mark.parametrize(
    ("source", "target", "is_directory", "found", "expected"),
    [
        ("/f", "c:/d", False, DIRECTORY, Top(b"d/f")),
        ("/f", "c:/d/", False, DIRECTORY, Top(b"d/f")),
        ("/dotfile.", "c:/d", False, DIRECTORY, Top(b"d/dotfile.")),
        ("/f", "c:/", False, Found("directory", b""), Top(b"f")),
        ("/f", "c:/d/f", False, FILE, Top(b"d/f")),
        ("/f", "c:/d/new", False, MISSING, Top(b"d/new")),
        ("/s", "c:/d", True, DIRECTORY, Top(b"d/s")),
        ("/s/", "c:/d", True, DIRECTORY, Top(b"d/s")),
        ("/s.", "c:/d", True, DIRECTORY, Top(b"d/s.")),
        ("/s/.", "c:/d", True, DIRECTORY, Top(b"d", included=False)),
        (".", "c:/d", True, DIRECTORY, Top(b"d", included=False)),
        ("c:/", "/d", True, DIRECTORY, Top(b"d", included=False)),
        ("/s", "c:/d/new", True, MISSING, Top(b"d/new")),
        ("/s/.", "c:/d/new", True, MISSING, Top(b"d/new")),
        ("/s", "c:/d/new/", True, MISSING, Top(b"d/new")),
    ],
)
def test_where_it_goes(source: str, target: str, is_directory: bool, found: Found, expected: Top) -> None:
    assert top_of(parse_argument(source), parse_argument(target), found, is_directory=is_directory) == expected


@pytest.mark.parametrize(
    ("target", "is_directory", "found", "error", "words"),
    [
        ("c:/d/f", True, FILE, InvalidArgument, "destination must be a directory when copying a directory"),
        ("c:/dev/null", True, OTHER, InvalidArgument, "destination must be a directory"),
        ("c:/dev/null", False, OTHER, InvalidArgument, 'invalid destination: "/dev/null" must be a directory or a'),
        ("c:/d/new/", False, MISSING, NotFound, '"/d/new/" could not be found on container c: no such directory'),
        ("c:/d/f/", False, FILE, NotFound, '"/d/f/" could not be found on container c: not a directory'),
        ("/d/new/", False, MISSING, NotFound, '"/d/new/" could not be found on the host: no such directory'),
    ],
)
def test_what_is_refused(target: str, is_directory: bool, found: Found, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        top_of(parse_argument("/s"), parse_argument(target), found, is_directory=is_directory)


def test_a_file_needs_a_name() -> None:
    with pytest.raises(InvalidArgument, match="is no name"):
        top_of(parse_argument("/s/.."), parse_argument("c:/d"), DIRECTORY, is_directory=True)
