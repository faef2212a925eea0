from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prun.detach import KeySequence
from prun.errors import AlreadyExists, FailedPrecondition, InvalidArgument
from prun.idfiles import cid_file, write_pid_file
from prun.request import fields_of
from prun.request.lifecycle import key_codes, signal_name
from prun.state import Store
from prun.types import Image, Platform, RunRequest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("TERM", "SIGTERM"), ("SIGTERM", "SIGTERM"), ("sigterm", "SIGTERM"), ("15", "SIGTERM"), ("9", "SIGKILL"),
        ("1", "SIGHUP"), ("CLD", "SIGCHLD"), ("POLL", "SIGIO"), ("RTMIN", "SIGRTMIN"), ("RTMIN+3", "37"),
        ("SIGRTMAX-1", "63"), ("64", "SIGRTMAX"), ("33", "33"),
    ],
)  # fmt: skip
def test_a_signal_is_a_name_or_a_number(word: str, name: str) -> None:
    assert signal_name(word) == name


@pytest.mark.parametrize("word", ["", "0", "65", "-1", "foo", "SIG", "9 ", "٩", "RTMIN-1", "RTMAX+1", "SIGSIGTERM"])
def test_what_is_no_signal_is_refused(word: str) -> None:
    with pytest.raises(InvalidArgument, match="--stop-signal"):
        fields_of({"stop_signal": word})


@given(st.sampled_from(signal.Signals))
def test_a_signals_name_means_its_number(each: signal.Signals) -> None:
    assert signal_name(each.name) == signal_name(str(int(each)))


@pytest.mark.parametrize(
    ("words", "codes"),
    [
        ("", b""), ("ctrl-p,ctrl-q", b"\x10\x11"), ("a", b"a"), ("ctrl-a,b", b"\x01b"), ("ctrl-@,ctrl-[", b"\x00\x1b"),
        ("ctrl-\\,ctrl-],ctrl-^,ctrl-_", b"\x1c\x1d\x1e\x1f"), ("Q,1,~", b"Q1~"),
    ],
)  # fmt: skip
def test_detach_keys_are_characters_and_control_characters(words: str, codes: bytes) -> None:
    assert key_codes(words) == codes


@pytest.mark.parametrize(
    "words", ["ctrl-?", "ctrl-", "ctrl-P", "ctrl-pq", "foo", ",", "a,", "é", "ctrl-1", "\x01", "^p"]
)
def test_what_is_no_key_is_refused(words: str) -> None:
    with pytest.raises(InvalidArgument, match="--detach-keys"):
        fields_of({"detach_keys": words})


KEYS = st.sampled_from([b"\x10\x11", b"aab", b"abab", b"aaa", b"x"])


@given(KEYS, st.lists(st.binary(max_size=5) | st.text(alphabet="abx\x10\x11", max_size=5).map(str.encode)))
def test_the_keys_are_found_however_the_input_is_cut_and_the_rest_is_passed_on(
    codes: bytes, chunks: list[bytes]
) -> None:
    keys, passed, left = KeySequence(codes), b"", False
    typed = b"".join(chunks)
    for chunk in chunks:
        some, left = keys.feed(chunk)
        passed += some
        if left:
            break
    at = typed.find(codes)
    assert left == (at >= 0)
    if left:
        assert passed == typed[:at]
    else:
        assert typed.startswith(passed)
        assert codes.startswith(typed[len(passed) :])  # held back: it may be the beginning


def test_without_keys_everything_is_passed_on() -> None:
    assert KeySequence(b"").feed(b"\x10\x11") == (b"\x10\x11", False)


def test_the_fields_are_those_of_the_words(tmp_path: Path) -> None:
    made = fields_of({"timeout": "1.5", "init": True, "attach": ("STDOUT", "stdin"), "sig_proxy": False, "quiet": True,
                      "cidfile": str(tmp_path / "cid"), "pull": "never", "stop_signal": "int"})  # fmt: skip
    assert made["timeout_s"] == 1.5
    assert made["init"] is True
    assert made["attach"] == ("stdout", "stdin")
    assert made["sig_proxy"] is False
    assert made["cid_file"] == str(tmp_path / "cid")
    assert made["pull"] == "never"
    assert made["stop_signal"] == "SIGINT"
    assert RunRequest(id="x", **made).pid_file == ""  # type: ignore[arg-type]


def test_a_timeout_of_zero_is_none() -> None:
    assert fields_of({"timeout": "0"})["timeout_s"] is None


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("timeout", "x", "--timeout 'x'"), ("timeout", "-1", "--timeout"), ("timeout", "nan", "--timeout"),
        ("timeout", "1e3", "--timeout"), ("attach", ("stdio",), "--attach 'stdio'"), ("pull", "sometimes", "--pull"),
        ("cidfile", "", "--cidfile"), ("cidfile", "/no/such/directory/file", "--cidfile"), ("pidfile", "", "--pidfile"),
        ("preserve_fds", "-1", "--preserve-fds"), ("preserve_fds", "x", "--preserve-fds"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_used_is_refused_by_the_options_name(
    option: str, value: str | tuple[str, ...], words: str
) -> None:
    with pytest.raises(InvalidArgument, match=words):
        fields_of({option: value})


@pytest.mark.parametrize("policy", ["missing", "never", "always", "newer"])
def test_when_to_pull_is_one_of_podmans_words(policy: str) -> None:
    assert fields_of({"pull": policy})["pull"] == policy


def test_a_descriptor_that_is_passed_on_must_be_open_and_meant_to_be_inherited() -> None:
    read, write = os.pipe()
    try:
        spare = os.dup2(read, 900, inheritable=False)
        with pytest.raises(InvalidArgument, match="descriptor 900 is not open to be inherited"):
            _only(900)
        os.set_inheritable(spare, True)
        _only(900)
        os.close(spare)
        with pytest.raises(InvalidArgument, match="descriptor 900 is not open to be inherited"):
            _only(900)
    finally:
        os.close(read)
        os.close(write)


def _only(fd: int) -> None:
    """Check one descriptor as if all below it were there."""
    real = os.get_inheritable
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "get_inheritable", lambda number: number < fd or real(number))
        fields_of({"preserve_fds": str(fd - 2)})


def test_the_id_is_in_its_file_without_a_line_break_and_a_failure_takes_it_away(tmp_path: Path) -> None:
    path = tmp_path / "cid"
    with cid_file(str(path), "abc"):
        assert path.read_bytes() == b"abc"
    assert path.read_bytes() == b"abc"
    with pytest.raises(AlreadyExists, match="container ID file found, make sure"), cid_file(str(path), "def"):
        pass
    assert path.read_bytes() == b"abc"
    with pytest.raises(ZeroDivisionError), cid_file(str(tmp_path / "other"), "abc"):
        _ = 1 / 0
    assert os.listdir(tmp_path) == ["cid"]


def test_a_dangling_link_is_no_place_for_an_id(tmp_path: Path) -> None:
    (tmp_path / "cid").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AlreadyExists), cid_file(str(tmp_path / "cid"), "abc"):
        pass
    assert not (tmp_path / "elsewhere").exists()


class Process:
    pid: int | None = 42


def test_the_pid_is_written_in_one_step_over_an_old_one(tmp_path: Path) -> None:
    (tmp_path / "pid").write_text("an old one, longer")
    write_pid_file(str(tmp_path / "pid"), Process())  # type: ignore[arg-type]
    assert (tmp_path / "pid").read_bytes() == b"42"
    assert os.listdir(tmp_path) == ["pid"]


def test_a_process_elsewhere_has_no_pid_to_write(tmp_path: Path) -> None:
    process = Process()
    process.pid = None
    with pytest.raises(FailedPrecondition, match="--pidfile"):
        write_pid_file(str(tmp_path / "pid"), process)  # type: ignore[arg-type]
    assert os.listdir(tmp_path) == []


def _image(signal: str) -> Image:
    return Image("x", "sha256:0", Platform("linux", "amd64"), {"StopSignal": signal})


@pytest.mark.parametrize(
    ("asked", "image", "kept"),
    [("", "", ""), ("SIGINT", "QUIT", "SIGINT"), ("", "QUIT", "SIGQUIT"), ("", "3", "SIGQUIT"), ("", "99; rm", "")],
)
def test_the_record_keeps_the_signal_asked_for_or_the_images(tmp_path: Path, asked: str, image: str, kept: str) -> None:
    request = RunRequest(id="x", stop_signal=asked)
    with Store(str(tmp_path / "root"), str(tmp_path / "state")) as store, store.container(request) as record:
        record.resolved(_image(image))
        assert store.metadata.containers()[0].stop_signal == kept


def test_the_id_stays_in_its_file_unless_the_run_fails(tmp_path: Path) -> None:
    """docker and podman 4.3.1 leave it behind, with --rm too."""
    path = tmp_path / "cid"
    with Store(str(tmp_path / "root"), str(tmp_path / "state")) as store:
        with pytest.raises(ZeroDivisionError), store.container(RunRequest(id="x", cid_file=str(path))):
            _ = 1 / 0
        assert not path.exists()
        with store.container(RunRequest(id="y", cid_file=str(path))) as record:
            record.started(None, [])
        with (
            pytest.raises(AlreadyExists, match="in use"),
            store.container(RunRequest(id="y", cid_file=str(tmp_path / "second"))),
        ):
            pass
        assert not (tmp_path / "second").exists()
        record.remove()
        assert path.read_text() == "y"


def test_a_signature_policy_is_a_file_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "policy.json").touch()
    monkeypatch.chdir(tmp_path)
    assert fields_of({"signature_policy": "policy.json"})["signature_policy"] == f"{tmp_path}/policy.json"
    for path in (tmp_path, "none.json", "a\0b"):
        with pytest.raises(InvalidArgument, match=r"--signature-policy .* is no file"):
            fields_of({"signature_policy": str(path)})
