from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from prun.errors import InvalidArgument
from prun.image.reference import Reference, parse_reference

HEX = "0123456789abcdef" * 4
DIGEST = f"sha256:{HEX}"


@pytest.mark.parametrize(
    ("text", "canonical", "familiar"),
    [
        ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
        ("bitnami/redis", "docker.io/bitnami/redis:latest", "bitnami/redis:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("docker.io/library/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("index.docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("library/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
        ("localhost:5000/x/y:tag", "localhost:5000/x/y:tag", "localhost:5000/x/y:tag"),
        ("localhost:5000", "docker.io/library/localhost:5000", "localhost:5000"),
        ("quay.io/a/b/c", "quay.io/a/b/c:latest", "quay.io/a/b/c:latest"),
        ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"),
        ("[2001:db8::1]/x:y", "[2001:db8::1]/x:y", "[2001:db8::1]/x:y"),
        ("127.0.0.1:80/x", "127.0.0.1:80/x:latest", "127.0.0.1:80/x:latest"),
        ("Registry/x", "Registry/x:latest", "Registry/x:latest"),
        (f"busybox@{DIGEST}", f"docker.io/library/busybox@{DIGEST}", f"busybox@{DIGEST}"),
        (f"busybox:1@{DIGEST}", f"docker.io/library/busybox:1@{DIGEST}", f"busybox:1@{DIGEST}"),
        (f"host:1/x@{DIGEST}", f"host:1/x@{DIGEST}", f"host:1/x@{DIGEST}"),
        ("docker.io/a.b/c", "docker.io/a.b/c:latest", "docker.io/a.b/c:latest"),
        ("docker.io/localhost/c", "docker.io/localhost/c:latest", "docker.io/localhost/c:latest"),
        ("a__b/c.d--e_f", "docker.io/a__b/c.d--e_f:latest", "a__b/c.d--e_f:latest"),
        (HEX[1:], f"docker.io/library/{HEX[1:]}:latest", f"{HEX[1:]}:latest"),
        ("x:" + "t" * 128, "docker.io/library/x:" + "t" * 128, "x:" + "t" * 128),
    ],
)
def test_a_reference_gets_dockers_defaults(text, canonical, familiar):
    reference = parse_reference(text)
    assert str(reference) == canonical
    assert reference.familiar == familiar
    assert parse_reference(familiar) == reference


def test_the_parts_of_a_reference_are_named():
    assert parse_reference(f"localhost:5000/x/y:tag@{DIGEST}") == Reference("localhost:5000", "x/y", "tag", DIGEST)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":tag",
        "/",
        "/x",
        "x/",
        "x//y",
        "x:",
        "x:.tag",
        "x:-tag",
        "x:" + "t" * 129,
        "x@",
        "x@sha256:abc",
        "x@md5:" + "0" * 32,
        f"x@{DIGEST.upper()}",
        f"x@{DIGEST}@{DIGEST}",
        HEX,
        "a..b",
        "a___b",
        "-a",
        "a-",
        "a b",
        "a\n",
        "a:b\n",
        "a\0b",
        "é",
        "host:port/x",
        "-host.com/x",
        "a_b.c/x",
        "[::1/x",
        "https://host/x",
        "../x",
        "./x",
        "x:y:z",
    ],
)
def test_what_is_no_reference_is_refused(text):
    with pytest.raises(InvalidArgument):
        parse_reference(text)


@pytest.mark.parametrize("text", ["Busybox", "docker.io/library/Busybox", "localhost:5000/X", "foo/Bar:Tag"])
def test_an_upper_case_repository_is_refused_with_a_hint(text):
    with pytest.raises(InvalidArgument, match="lower case") as error:
        parse_reference(text)
    assert error.value.hint.startswith("did you mean ")


def test_a_bare_identifier_is_told_how_a_digest_is_written():
    with pytest.raises(InvalidArgument) as error:
        parse_reference(HEX)
    assert DIGEST in error.value.hint


def test_the_path_has_at_most_255_characters():
    longest = "a" * (255 - len("library/"))
    assert parse_reference(longest).path == f"library/{longest}"
    with pytest.raises(InvalidArgument, match="255"):
        parse_reference(longest + "a")


def test_a_message_does_not_repeat_a_megabyte():
    with pytest.raises(InvalidArgument) as error:
        parse_reference("A" * 1_000_000 + ":" + "b" * 1_000_000)
    assert len(str(error.value)) + len(error.value.hint) < 2000


component = st.from_regex(r"[a-z0-9]{1,5}(?:(?:[._]|__|-{1,3})[a-z0-9]{1,5}){0,2}", fullmatch=True)
label = st.from_regex(r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,5}[a-zA-Z0-9])?", fullmatch=True)
domain = st.one_of(
    st.just(""),
    st.sampled_from(["docker.io", "index.docker.io", "localhost", "[::1]", "[fe80::1]:443"]),
    st.builds(
        lambda labels, port: ".".join(labels) + port,
        st.lists(label, min_size=2, max_size=3),
        st.sampled_from(["", ":5000"]),
    ),
)
path = st.lists(component, min_size=1, max_size=4).map("/".join)
tag = st.one_of(st.just(""), st.from_regex(r":[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True))
digest = st.sampled_from(["", f"@{DIGEST}", "@sha512:" + HEX * 2])
references = st.builds(lambda d, p, t, g: (f"{d}/" if d else "") + p + t + g, domain, path, tag, digest)


@given(references)
def test_what_is_printed_parses_to_the_same_reference(text):
    first = text.partition("/")[0]
    assume(not re.fullmatch("[0-9a-f]{64}", text))
    assume(not ("/" in text and "." in first and "_" in first))  # neither a domain nor, with its dot, a component
    reference = parse_reference(text)
    assert parse_reference(str(reference)) == reference
    assert parse_reference(reference.familiar) == reference


@given(st.text(alphabet=st.sampled_from("abzAZ09._-:/@[]\n\0é"), max_size=40))
def test_any_text_parses_to_itself_or_is_refused(text):
    try:
        reference = parse_reference(text)
    except InvalidArgument:
        return
    assert parse_reference(str(reference)) == reference
    assert parse_reference(reference.familiar) == reference


def test_importing_it_loads_nothing_heavy():
    script = (
        "import sys, re, typing; before = set(sys.modules); import prun.image.reference;"
        "print(*sorted(m for m in set(sys.modules) - before if not m.startswith('prun')))"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert set(out.split()) <= {"__future__"}
