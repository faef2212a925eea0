"""``prun exec``: the words of the command line become one more process in a container."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prun.cli.grammar import parse
from prun.cli.options import EXEC
from prun.errors import InvalidArgument, NotFound
from prun.live import ExecRequest
from prun.request.environment import from_files, from_host
from prun.request.lifecycle import descriptors, key_codes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prun.cli.grammar import Parsed

_ID_BYTES = 256


def execute(words: Sequence[str], settings: Mapping[str, str]) -> int:
    """Execute a command in a container and return its exit code; 0 where it lives on."""
    from prun.cli.run import runner_of
    from prun.signals import ForwardedSignals

    name, request = asked(words)
    with ForwardedSignals() as signals:
        return runner_of(settings).execute_in(name, request, signals).exit_code


def asked(words: Sequence[str]) -> tuple[str, ExecRequest]:
    """Parse ``[OPTIONS] CONTAINER COMMAND [ARG...]``.

    Raises:
        InvalidArgument: one of them is missing, or a value cannot be used.
    """
    from prun.api import new_id

    parsed = parse(words, EXEC, "exec")
    name, args = _container_of(parsed)
    flags, values, lists = parsed.flags, parsed.values, parsed.lists
    keys = values["detach_keys"] if "detach_keys" in parsed.given else None
    key_codes(keys or "")
    return name, ExecRequest(
        id=new_id(),
        args=args,
        env=(*from_files(lists["env_file"]), *from_host(lists["env"])),
        user=values["user"],
        workdir=values["workdir"],
        privileged=flags["privileged"],
        terminal=flags["tty"],
        interactive=flags["interactive"],
        detach=flags["detach"],
        detach_keys=keys,
        preserve_fds=descriptors(values["preserve_fds"]),
    )


def _container_of(parsed: Parsed) -> tuple[str, tuple[str, ...]]:
    """Return the container's name or id, and the words of the command."""
    words = parsed.rest
    if path := parsed.values["cidfile"]:
        try:
            with open(path, encoding="ascii") as file:
                words = (file.read(_ID_BYTES).strip(), *words)
        except (OSError, ValueError) as error:
            raise NotFound(
                f"--cidfile {path!r} cannot be read: {error}", hint="prun run --cidfile writes it"
            ) from error
    if not words or not words[0]:
        raise InvalidArgument("CONTAINER is missing", hint="prun exec [OPTIONS] CONTAINER COMMAND [ARG...]")
    if len(words) < 2:
        raise InvalidArgument("COMMAND is missing", hint="prun exec [OPTIONS] CONTAINER COMMAND [ARG...]")
    return words[0], words[1:]
