from __future__ import annotations

import hashlib

import pytest

from prun.errors import InvalidArgument
from prun.image.digest import digest_of, matches, parse_digest

GOOD = "sha256:" + "0" * 64


@pytest.mark.parametrize("text", [GOOD, "sha512:" + "f" * 128])
def test_a_registered_digest_is_returned_as_it_is(text):
    assert parse_digest(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        "sha256:" + "0" * 63,
        "sha256:" + "0" * 65,
        "sha256:" + "A" * 64,
        "sha512:" + "0" * 64,
        "md5:" + "0" * 32,
        "sha256:../../etc/passwd",
        "sha256:" + "../" * 21 + "x",
        GOOD + "\n",
        GOOD + "\0",
        "sha256:" + "\u0660" * 64,
    ],
)
def test_anything_else_is_refused_before_it_becomes_a_path(text):
    with pytest.raises(InvalidArgument):
        parse_digest(text)


@pytest.mark.parametrize("size", [0, 10, 64 << 10, (64 << 10) + 1])
def test_small_and_large_data_have_the_digest_of_hashlib(size):
    data = b"x" * size
    assert digest_of(data) == "sha256:" + hashlib.sha256(data).hexdigest()
    assert matches(data, digest_of(data))
    assert matches(data, "sha512:" + hashlib.sha512(data).hexdigest())
    assert not matches(data + b"y", digest_of(data))
