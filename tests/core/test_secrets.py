from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prun.cli import command
from prun.errors import AlreadyExists, DataLoss, InvalidArgument, NotFound
from prun.secrets import LIMIT_BYTES, Secret, Secrets

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def kept(tmp_path: Path) -> Secrets:
    return Secrets(str(tmp_path))


def test_a_secret_is_found_by_name_id_and_the_ids_beginning(kept: Secrets) -> None:
    made = kept.create("token", b"\0\xff secret")
    assert len(made.id) == 25
    for words in ("token", made.id, made.id[:6]):
        assert kept.find(words) == made
    assert kept.all() == [made]


def test_only_the_owner_can_read_it(kept: Secrets, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        kept.create("token", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    assert {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "secrets").iterdir()} == {
        "token": 0o600, ".lock": 0o600,
    }  # fmt: skip


def test_a_name_is_taken_until_it_is_removed(kept: Secrets) -> None:
    first = kept.create("token", b"one")
    with pytest.raises(AlreadyExists, match="token"):
        kept.create("token", b"two")
    assert kept.find("token").data == b"one"
    kept.remove(first)
    kept.remove(first)
    with pytest.raises(NotFound):
        kept.find("token")
    assert kept.create("token", b"two").id != first.id


@pytest.mark.parametrize("name", ["", ".", "..", ".new", ".lock", "-x", "x-", "a b", "a/b", "../x", "x" * 65, "é"])
def test_a_name_that_podman_would_refuse_is_refused(kept: Secrets, name: str) -> None:
    with pytest.raises(InvalidArgument, match="name"):
        kept.create(name, b"x")
    with pytest.raises(NotFound):
        kept.find(name)


@pytest.mark.parametrize("name", ["a", "A1", "a.b_c-d", "x" * 64])
def test_a_name_that_podman_takes_is_taken(kept: Secrets, name: str) -> None:
    assert kept.create(name, b"x").name == name


def test_it_has_at_least_one_byte_and_less_than_512000(kept: Secrets) -> None:
    for data in (b"", b"x" * LIMIT_BYTES):
        with pytest.raises(InvalidArgument, match="512000"):
            kept.create("token", data)
    assert len(kept.create("token", b"x" * (LIMIT_BYTES - 1)).data) == LIMIT_BYTES - 1


@given(data=st.binary(min_size=1, max_size=200))
def test_the_data_comes_back_as_it_was(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    kept = Secrets(str(tmp_path_factory.mktemp("secrets")))
    kept.create("token", data)
    assert kept.find("token").data == data


def test_what_a_killed_process_left_is_no_secret_and_in_nobodys_way(kept: Secrets, tmp_path: Path) -> None:
    kept.create("a", b"x")
    (tmp_path / "secrets" / ".new").write_text('{"id": "half of it, and longer than what comes')
    assert [secret.name for secret in kept.all()] == ["a"]
    kept.create("b", b"y")
    assert kept.find("b").data == b"y"


def test_a_damaged_file_is_said_to_be_without_its_content(kept: Secrets, tmp_path: Path) -> None:
    kept.create("token", b"x")
    for content in ("", "{}", "[]", '{"id": "1", "createdAt": 0, "data": "hunter2!"}', '{"hunter2'):
        (tmp_path / "secrets" / "token").write_text(content)
        with pytest.raises(DataLoss, match="damaged") as caught:
            kept.find("token")
        assert "hunter2" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_a_link_in_the_store_is_not_followed(kept: Secrets, tmp_path: Path) -> None:
    kept.create("token", b"x")
    (tmp_path / "secrets" / "link").symlink_to("token")
    with pytest.raises(DataLoss):
        kept.find("link")


def test_of_many_who_want_one_name_one_gets_it(kept: Secrets) -> None:
    made: list[Secret] = []

    def create(number: int) -> None:
        with suppress(AlreadyExists):
            made.append(kept.create("token", str(number).encode()))

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept.all() == made
    assert len(made) == 1


def test_the_data_is_not_in_its_repr() -> None:
    assert "hunter2" not in repr(Secret("1", "token", 0.0, b"hunter2"))


def test_the_command_keeps_a_file_and_a_variable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def prun(*words: str) -> tuple[int, str, str]:
        code = command(["--root", str(tmp_path / "r"), "--state", str(tmp_path / "s"), "secret", *words])
        return code, *capsys.readouterr()

    (tmp_path / "file").write_bytes(b"hunter2")
    code, out, _ = prun("create", "token", str(tmp_path / "file"))
    assert (code, len(out.strip())) == (0, 25)
    assert prun("ls", "-q") == (0, out, "")
    table = prun("ls")[1].splitlines()
    assert table[0].split() == ["ID", "NAME", "DRIVER", "CREATED"]
    assert table[1].split()[:3] == [out.strip(), "token", "file"]
    assert '"Name": "token"' in prun("ls", "--format", "json")[1]
    assert "hunter2" not in prun("inspect", "token")[1]
    assert '"SecretData": "hunter2"' in prun("inspect", "--showsecret", "token")[1]
    monkeypatch.setenv("FROM_HERE", "value")
    assert prun("create", "--env", "second", "FROM_HERE")[0] == 0
    assert '"SecretData": "value"' in prun("inspect", "--showsecret", "second")[1]
    assert prun("create", "--env", "third", "NOT_SET")[0] == 125
    assert "cannot be read" in prun("create", "third", str(tmp_path / "missing"))[2]
    assert prun("create", "token", str(tmp_path / "file"))[0] == 125
    assert prun("rm")[0] == 125
    assert prun("rm", "--all", "token")[0] == 125
    assert "no such secret" in prun("rm", "nope")[2]
    assert prun("rm", "token") == (0, out, "")
    assert prun("rm", "-a")[0] == 0
    assert prun("ls", "-q") == (0, "", "")
