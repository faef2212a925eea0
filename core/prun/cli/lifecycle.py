"""``start``, ``stop``, ``restart``, ``kill``, ``wait``, ``pause``, ``unpause``, ``attach``, ``rm``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from prun.cli.choosing import chosen, each, ids_in
from prun.cli.container_filters import KEYS as KEYS_OF_FILTERS
from prun.cli.container_filters import container_filters
from prun.cli.filters import filter_option, parse_filters
from prun.cli.images import opened
from prun.cli.listing import switch
from prun.errors import FailedPrecondition, InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prun.api import Runner
    from prun.metadata import ContainerRow
    from prun.state import Store

NAMES = click.argument("names", nargs=-1, metavar="CONTAINER...")
ALL = click.option("-a", "--all", "everything", is_flag=True, help="All of them.")
IGNORE = click.option("-i", "--ignore", is_flag=True, help="One that does not exist is no error.")
CIDFILE = click.option(
    "--cidfile", "cid_files", multiple=True, metavar="FILE", help="A container whose id a file has (run --cidfile)."
)
KEYS = click.option("--detach-keys", default=None, metavar="KEYS", help="Keys that leave a terminal.")
PROXY = switch("--sig-proxy", "Pass signals on to the process (the default); =false: do not.")
TIME = click.option(
    "-t", "--time", "--timeout", "seconds", metavar="SECONDS", help="How long it may take to end by itself."
)
LIVE = ("running", "paused", "restarting")


@click.command()
@NAMES
@click.option("-a", "--attach", "attached", is_flag=True, help="Carry its output, and return its exit code.")
@click.option("-i", "--interactive", is_flag=True, help="Carry stdin too.")
@click.option("--all", "everything", is_flag=True, help="Start all that do not run.")
@click.option("--again", is_flag=True, hidden=True)
@filter_option(*KEYS_OF_FILTERS)
@KEYS
@PROXY
@click.pass_obj
def start(
    settings: Mapping[str, str],
    names: tuple[str, ...],
    attached: bool,
    interactive: bool,
    everything: bool,
    again: bool,
    filters: tuple[str, ...],
    detach_keys: str | None,
    sig_proxy: bool,
) -> int:
    """Start containers that were created or have ended; with --filter, those of them that fit."""
    attached = attached or interactive
    detach_keys = _keys(detach_keys)
    if attached and (len(names) != 1 or filters):
        raise InvalidArgument("you cannot start and attach multiple containers at once")
    with opened(settings) as store:
        words = chosen(store, names, everything or bool(filters and not names), states=("created", "stopped"))
        if filters:
            fits = parse_filters(filters, container_filters(store))
            words = [word for word in words if fits(store.find(word))]
        if attached:
            return _start_attached(settings, store, words[0], interactive, detach_keys, sig_proxy)
        return each(store, words, lambda row: _start(settings, store, row, again=again))


@click.command()
@NAMES
@TIME
@click.option("-s", "--signal", "signal", default=None, metavar="SIGNAL", help="Ask it to end with this signal.")
@ALL
@IGNORE
@CIDFILE
@click.pass_obj
def stop(
    settings: Mapping[str, str],
    names: tuple[str, ...],
    seconds: str | None,
    signal: str | None,
    everything: bool,
    ignore: bool,
    cid_files: tuple[str, ...],
) -> int:
    """Ask containers to end, and end them when the time is up: after ten seconds, or theirs."""
    from prun.stopping import stop as stop_container

    timeout_s, number = _timeout(seconds), _signal(signal)
    with opened(settings) as store:
        words = chosen(
            store, [*names, *ids_in(cid_files, ignore=ignore)], everything, states=LIVE, none=ignore and cid_files
        )
        return each(store, words, lambda row: stop_container(store, row, timeout_s, number), ignore=ignore)


@click.command()
@NAMES
@TIME
@click.option("-s", "--signal", "signal", default=None, metavar="SIGNAL", help="Ask it to end with this signal.")
@ALL
@click.option("--running", is_flag=True, help="All that run.")
@click.pass_obj
def restart(
    settings: Mapping[str, str],
    names: tuple[str, ...],
    seconds: str | None,
    signal: str | None,
    everything: bool,
    running: bool,
) -> int:
    """Stop containers if they run, and start them."""
    from prun.stopping import stop as stop_container

    timeout_s, number = _timeout(seconds), _signal(signal)
    with opened(settings) as store:

        def stop_and_start(row: ContainerRow) -> None:
            if row.status in LIVE and not row.keep:
                raise FailedPrecondition(f"container {row.name} is removed when it ends (--rm): it cannot be restarted")
            stop_container(store, row, timeout_s, number)
            _start(settings, store, store.find(row.id))

        words = chosen(store, names, everything or running, states=LIVE if running else ())
        return each(store, words, stop_and_start)


@click.command()
@NAMES
@click.option("-s", "--signal", "signal", default="KILL", metavar="SIGNAL", help="The signal (default KILL).")
@ALL
@CIDFILE
@click.pass_obj
def kill(
    settings: Mapping[str, str], names: tuple[str, ...], signal: str, everything: bool, cid_files: tuple[str, ...]
) -> int:
    """Send a signal to containers."""
    from prun.request.lifecycle import signal_number
    from prun.stopping import kill as kill_container

    number = signal_number(signal.removeprefix("-"), "--signal")  # podman takes -9, too
    with opened(settings) as store:
        words = chosen(store, [*names, *ids_in(cid_files)], everything, states=("running", "paused"))
        return each(store, words, lambda row: kill_container(store, row, number))


@click.command()
@NAMES
@IGNORE
@click.pass_obj
def wait(settings: Mapping[str, str], names: tuple[str, ...], ignore: bool) -> int:
    """Wait until containers do not run any more, and print their exit codes."""
    from prun.starting import wait as wait_for_container

    with opened(settings) as store:
        words = chosen(store, names, everything=False)
        if ignore:
            return each(store, words, lambda row: print(wait_for_container(store, row)), missing="-1", echo=False)
        return each(store, words, lambda row: print(wait_for_container(store, row)), echo=False)


@click.command()
@NAMES
@ALL
@CIDFILE
@click.pass_obj
def pause(settings: Mapping[str, str], names: tuple[str, ...], everything: bool, cid_files: tuple[str, ...]) -> int:
    """Stop every process of containers where it stands."""
    from prun.stopping import pause as pause_container

    with opened(settings) as store:
        words = chosen(store, [*names, *ids_in(cid_files)], everything, states=("running",))
        return each(store, words, lambda row: pause_container(store, row))


@click.command()
@NAMES
@ALL
@CIDFILE
@click.pass_obj
def unpause(settings: Mapping[str, str], names: tuple[str, ...], everything: bool, cid_files: tuple[str, ...]) -> int:
    """Let the processes of containers go on."""
    from prun.stopping import unpause as unpause_container

    with opened(settings) as store:
        words = chosen(store, [*names, *ids_in(cid_files)], everything, states=("paused",))
        return each(store, words, lambda row: unpause_container(store, row))


@click.command()
@click.argument("name", metavar="CONTAINER")
@click.option("--no-stdin", is_flag=True, help="Do not carry stdin.")
@KEYS
@PROXY
@click.pass_obj
def attach(settings: Mapping[str, str], name: str, no_stdin: bool, detach_keys: str | None, sig_proxy: bool) -> int:
    """Carry between the streams of a container and ours; its exit code is ours."""
    from prun.starting import attach as attach_to

    with opened(settings) as store:
        row = store.find(name)
        if row.status not in LIVE:
            raise FailedPrecondition("you cannot attach to a stopped container, start it first")
        from prun.signals import ForwardedSignals

        with ForwardedSignals() as signals:
            passed_on = signals if sig_proxy else None
            keys = _keys(detach_keys)
            return attach_to(store, row, stdin=not no_stdin, detach_keys=keys, signals=passed_on) or 0


@click.command()
@NAMES
@click.option("-f", "--force", is_flag=True, help="End it first if it is running; a missing one is no error.")
@click.option("-v", "--volumes", is_flag=True, help="Remove its anonymous volumes too.")
@ALL
@IGNORE
@TIME
@CIDFILE
@click.pass_obj
def rm(
    settings: Mapping[str, str],
    names: tuple[str, ...],
    force: bool,
    volumes: bool,
    everything: bool,
    ignore: bool,
    seconds: str | None,
    cid_files: tuple[str, ...],
) -> int:
    """Remove containers."""
    from prun.stopping import remove_container
    from prun.stopping import stop as stop_container

    timeout_s = _timeout(seconds)
    if timeout_s is not None and not force:
        raise InvalidArgument("--time needs --force", hint="prun rm --force --time SECONDS CONTAINER")

    with opened(settings) as store:

        def remove(row: ContainerRow) -> None:
            if row.status in LIVE and not force:
                raise FailedPrecondition(f"container {row.name} is {row.status}", hint="stop it, or use --force")
            if timeout_s is not None:
                stop_container(store, row, timeout_s)
            remove_container(store, row, volumes=volumes)

        words = chosen(store, [*names, *ids_in(cid_files, ignore=ignore)], everything, none=ignore and cid_files)
        return each(store, words, remove, ignore=ignore or force)


def start_again(settings: Mapping[str, str], store: Store, container_id: str) -> None:
    """Start a container that has just been stopped, for whoever has stopped it."""
    _start(settings, store, store.find(container_id))


def _start(settings: Mapping[str, str], store: Store, row: ContainerRow, *, again: bool = False) -> None:
    """Start a container and leave it alone; one that runs is no error (docker)."""
    from prun.starting import stored_request

    if row.status == "running":
        return
    if again:  # we have been executed by who waited to do so
        if row.status != "restarting" or row.stop_asked:
            return  # it was stopped meanwhile
        row = row._replace(status="stopped")
    else:
        store.metadata.update_container(row.id, restart_count=0)
    request = stored_request(store, row)._replace(detach=True)
    _runner_of(settings, row).execute(request)


def _keys(given: str | None) -> str | None:
    """Return the keys that leave a terminal: those given, else those of docker's own config file."""
    if given is not None:
        return given
    from prun.cli.docker_config import docker_config
    from prun.cli.output import warn

    return docker_config(warn).detach_keys


def _start_attached(
    settings: Mapping[str, str],
    store: Store,
    word: str,
    interactive: bool,
    detach_keys: str | None,
    sig_proxy: bool,
) -> int:
    from prun.signals import ForwardedSignals
    from prun.starting import attach as attach_to
    from prun.starting import stored_request

    row = store.find(word)
    if row.status == "running":
        with ForwardedSignals() as signals:
            return attach_to(store, row, stdin=interactive, detach_keys=detach_keys, signals=signals) or 0
    request = stored_request(store, row)
    keys = request.detach_keys if detach_keys is None else detach_keys
    streams = ("stdout", "stderr", *(("stdin",) if interactive else ()))
    request = request._replace(attach=streams, detach_keys=keys, sig_proxy=sig_proxy)
    with ForwardedSignals() as forwarded:
        return _runner_of(settings, row).execute(request, forwarded).exit_code


def _runner_of(settings: Mapping[str, str], row: ContainerRow) -> Runner:
    from prun.cli.run import runner_of

    return runner_of({**settings, "engine": row.engine, **row.engine_options}, runtime=row.runtime)


def _timeout(seconds: str | None) -> float | None:
    from prun.request.supervision import stop_timeout

    return None if seconds is None else stop_timeout(seconds)


def _signal(word: str | None) -> int | None:
    from prun.request.lifecycle import signal_number

    return None if word is None else signal_number(word, "--signal")


def restart_later(seconds: float, command: list[str]) -> None:
    """Become a shell that waits, and then the command: nothing of Python stays meanwhile."""
    script = 'sleep "$1"; shift; exec "$@"'
    os.execv("/bin/sh", ["/bin/sh", "-c", script, "sh", f"{seconds:g}", *command])  # noqa: S606  words of our own
