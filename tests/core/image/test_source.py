from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from images import busybox_layout

from prun.errors import InvalidArgument
from prun.image.source import Source, parse_source


@pytest.fixture(autouse=True)
def working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("oci:dir", Source("oci", "dir")),
        ("oci:dir:tag", Source("oci", "dir", "tag")),
        ("oci:/a/b:docker.io/library/x:1", Source("oci", "/a/b", "docker.io/library/x:1")),
        ("oci-archive:f.tar", Source("oci-archive", "f.tar")),
        ("oci-archive:-", Source("oci-archive", "-")),
        ("docker-archive:f.tar:busybox:1", Source("docker-archive", "f.tar", "busybox:1")),
        ("-", Source("archive", "-")),
        ("./missing.tar", Source("archive", "./missing.tar")),
        ("../missing", Source("archive", "../missing")),
        ("/missing", Source("archive", "/missing")),
    ],
)
def test_a_source_is_known_by_its_form(text, source):
    assert parse_source(text) == source


@pytest.mark.parametrize(
    "text",
    [
        "",
        "busybox",
        "busybox:latest",
        "library/busybox",
        "localhost:5000/x",
        "missing.tar",
        "a/missing.tar",
        "a\0/b",
        "oci",
        "ocix:y",
    ],
)
def test_anything_else_is_a_reference(text):
    assert parse_source(text) is None


def test_a_file_is_a_source_by_its_path_or_by_its_suffix(working_directory):
    working_directory.joinpath("sub").mkdir()
    for name in ("a.tar", "a.tar.gz", "a.tgz", "a.tar.zst", "sub/plain", "plain"):
        working_directory.joinpath(name).touch()
    for name in ("a.tar", "a.tar.gz", "a.tgz", "a.tar.zst", "sub/plain", "./plain"):
        assert parse_source(name) == Source("archive", name)
    assert parse_source("plain") is None


def test_a_directory_is_a_source_when_it_is_a_layout_and_looks_like_a_path(working_directory):
    busybox_layout(working_directory / "sub" / "busybox")
    busybox_layout(working_directory / "busybox")
    assert parse_source("sub/busybox") == Source("oci", "sub/busybox")
    assert parse_source("./busybox") == Source("oci", "./busybox")
    assert parse_source("busybox/") == Source("oci", "busybox/")
    assert parse_source("busybox") is None  # else a directory would hide the image of that name
    assert parse_source("sub/") is None


def test_a_path_that_exists_may_have_colons(working_directory):
    working_directory.joinpath("a:b.tar").touch()
    assert parse_source("oci-archive:a:b.tar") == Source("oci-archive", "a:b.tar")
    assert parse_source("oci-archive:a:c.tar") == Source("oci-archive", "a", "c.tar")


def test_a_pipe_that_a_shell_made_is_a_source():
    read, write = os.pipe()
    try:
        assert parse_source(f"/dev/fd/{read}") == Source("archive", f"/dev/fd/{read}")
    finally:
        os.close(read)
        os.close(write)


@pytest.mark.parametrize("text", ["oci:", "oci-archive::tag", "docker-archive:"])
def test_a_source_without_a_path_is_refused(text):
    with pytest.raises(InvalidArgument, match="no path"):
        parse_source(text)


@given(st.text(max_size=20), st.sampled_from(["", "oci:", "docker-archive:", "./"]))
def test_any_text_is_a_source_a_reference_or_refused(text, prefix):
    try:
        source = parse_source(prefix + text)
    except InvalidArgument:
        return
    assert source is None or parse_source(str(source)) == source
