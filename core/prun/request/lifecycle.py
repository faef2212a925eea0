"""How a run begins and ends: ``--init``, ``--timeout``, ``--cidfile``, ``--attach`` and their kin."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from prun.errors import InvalidArgument
from prun.request import flag, many, one

if TYPE_CHECKING:
    from prun.request import Asked

STREAMS = ("stdin", "stdout", "stderr")
PULL = ("missing", "never", "always", "newer")
SIGNALS = 64  # signal(7): 1 to SIGRTMAX
DETACH_KEYS = "ctrl-p,ctrl-q"


def fields(asked: Asked) -> dict[str, object]:
    """Return ``init``, ``timeout_s``, ``attach``, ``cid_file`` and the other fields of the group.

    ``quiet`` makes none: it is about what the command line says while an image is pulled.
    """
    flag(asked, "quiet")
    keys = one(asked, "detach_keys") if "detach_keys" in asked else None
    if keys is not None:
        key_codes(keys)
    return {
        "init": flag(asked, "init"),
        "timeout_s": _timeout(asked),
        "stop_signal": signal_name(one(asked, "stop_signal")) if "stop_signal" in asked else "",
        "attach": tuple(_stream(word) for word in many(asked, "attach")),
        "detach_keys": keys,
        "sig_proxy": flag(asked, "sig_proxy") if "sig_proxy" in asked else True,
        "preserve_fds": descriptors(one(asked, "preserve_fds")),
        "cid_file": _file(asked, "cidfile"),
        "pid_file": _file(asked, "pidfile"),
        "pull": _pull(asked),
        "signature_policy": _existing(asked, "signature_policy"),
        "precheck": flag(asked, "precheck") if "precheck" in asked else True,
    }


def signal_name(word: str, option: str = "--stop-signal") -> str:
    """Return a signal's name: of a number from 1 to 64, or of a name with or without SIG, in any case.

    Raises:
        InvalidArgument: there is no such signal; the message names ``option``.
    """
    number = signal_number(word, option)
    names = {number: name for name, number in reversed(_numbers().items())}
    return f"SIG{names[number]}" if number in names else str(number)


def signal_number(word: str, option: str = "--stop-signal") -> int:
    """Return a signal's number, as ``signal_name`` takes it."""
    import signal

    upper = word.upper() if word.isascii() else ""
    if re.fullmatch("0*[0-9]{1,2}", word, re.ASCII):
        number = int(word)
    elif match := re.fullmatch(r"(?:SIG)?(RTMIN|RTMAX)([+-][0-9]{1,2})?", upper):
        number = int(getattr(signal, f"SIG{match[1]}", 0)) + int(match[2] or 0)
        if number < getattr(signal, "SIGRTMIN", 1):
            number = 0
    else:
        number = _numbers().get(upper.removeprefix("SIG"), 0)
    if not 1 <= number <= SIGNALS:
        raise InvalidArgument(
            f"{option} {word!r} is no signal", hint=f"a name as in kill -l, or a number from 1 to {SIGNALS}"
        )
    return number


def key_codes(words: str) -> bytes:
    """Return the bytes of ``--detach-keys``: a list of characters and of ``ctrl-`` with one of ``a-z@[\\]^_``.

    An empty text is no keys at all (podman).

    Raises:
        InvalidArgument: a word is neither.
    """
    codes = bytearray()
    for word in words.split(",") if words else ():
        control = word.removeprefix("ctrl-")
        if len(word) == 1 and word.isascii() and word.isprintable():
            codes += word.encode()
        elif control != word and re.fullmatch(r"[a-z@\[\\\]^_]", control):
            codes.append(ord(control.upper()) & 0x1F)
        else:
            raise InvalidArgument(
                f"--detach-keys {words!r}: {word!r} is no key", hint="a character, or ctrl- and one of a-z @ [ \\ ] ^ _"
            )
    return bytes(codes)


def _numbers() -> dict[str, int]:
    """Return the signals' numbers by their names without SIG; of two names of one number, the usual first."""
    import signal

    return {each.name.removeprefix("SIG"): int(each) for each in signal.Signals} | {
        name: int(getattr(signal, f"SIG{name}")) for name in ("CLD", "POLL", "IOT") if hasattr(signal, f"SIG{name}")
    }


def _timeout(asked: Asked) -> float | None:
    text = one(asked, "timeout")
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text, re.ASCII):
        raise InvalidArgument(f"--timeout {text!r} is no number of seconds", hint="as in 30; 0 is no limit")
    return float(text) or None


def _stream(word: str) -> str:
    if word.lower() not in STREAMS:
        raise InvalidArgument(f"--attach {word!r} is not one of {', '.join(STREAMS)}")
    return word.lower()


def descriptors(word: str) -> int:
    """Return the number of ``--preserve-fds``; every one of them must be there and meant to be inherited.

    Those that prun or a library has opened for itself are not (PEP 446), and must never reach a container.
    """
    text = word or "0"
    if not re.fullmatch("[0-9]{1,4}", text, re.ASCII):
        raise InvalidArgument(f"--preserve-fds {text!r} is no number of descriptors")
    for fd in range(3, 3 + int(text)):
        try:
            ours = os.get_inheritable(fd)
        except OSError:
            ours = False
        if not ours:
            raise InvalidArgument(
                f"--preserve-fds {text}: descriptor {fd} is not open to be inherited",
                hint=f"open 3 to {2 + int(text)}, as a shell does with {fd}<FILE",
            )
    return int(text)


def _file(asked: Asked, option: str) -> str:
    """Return the absolute path of a file that shall be written."""
    if option not in asked:
        return ""
    path = one(asked, option)
    if not path or "\0" in path or not os.path.isdir(os.path.dirname(os.path.abspath(path))):
        raise InvalidArgument(f"--{option} {path!r} is no file in a directory that exists")
    return os.path.abspath(path)


def _existing(asked: Asked, option: str) -> str:
    path = one(asked, option) or ""
    if path and ("\0" in path or not os.path.isfile(path)):
        raise InvalidArgument(f"--{option.replace('_', '-')} {path!r} is no file")
    return os.path.abspath(path) if path else ""


def _pull(asked: Asked) -> str:
    policy = one(asked, "pull") or "missing"
    if policy not in PULL:
        raise InvalidArgument(f"--pull {policy!r} is not one of {', '.join(PULL)}")
    return policy
