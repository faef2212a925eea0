"""``prun run`` and ``prun spec``: the words of the command line become a request."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from prun.api import Runner, checked_name, new_id
from prun.cli.docker_config import docker_config
from prun.cli.grammar import parse
from prun.cli.options import ENGINE, RUN, SPEC
from prun.errors import InvalidArgument, PluginError
from prun.image.platform import parse_platform
from prun.loading import names_of
from prun.request import flag, many, one
from prun.request.environment import pairs
from prun.request.whole import fields
from prun.types import Origin, RunRequest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from prun.cli.grammar import Parsed
    from prun.config import Settings
    from prun.image.registry.progress import Listener
    from prun.request import Asked
    from prun.timeline import Timeline
    from prun.types import Platform

ENGINE_OPTIONS = tuple(option.name for option in ENGINE if option.name != "engine")
DEFAULT_PLATFORM = "DOCKER_DEFAULT_PLATFORM"


def run(words: Sequence[str], settings: Mapping[str, str]) -> int:
    """Run a container in the foreground and return its exit code."""
    from prun.signals import ForwardedSignals

    runner, request = asked("run", words, settings)
    check_combination(request)
    if request.dry_run:
        from prun.cli.dry_run import dry_run

        return dry_run(runner, request, settings)
    _become_root(runner, settings)
    with ForwardedSignals() as signals, _waterfall(request) as timeline:
        result = runner.execute(request, signals, timeline)
    if request.detach:
        print(result.id)
        return 0
    if result.timed_out:
        _warn(f"container {request.name or request.id[:12]} was killed: it ran for {request.timeout_s:g} s (--timeout)")
    if request.attach == ("stdin",):
        print(result.id)  # as docker: nothing else would come out of it
    return result.exit_code


def create(words: Sequence[str], settings: Mapping[str, str]) -> int:
    """Make a container without starting it, and print its id."""
    runner, request = asked("create", words, settings)
    if request.detach and request.origins["detach"][-1].kind == "flag":
        raise InvalidArgument("unknown flag: --detach", hint="prun create starts nothing; prun start does")
    request = request._replace(detach=False)
    check_combination(request)
    if request.dry_run:
        from prun.cli.dry_run import dry_run

        return dry_run(runner, request._replace(detach=True), settings)
    _become_root(runner, settings)
    with _waterfall(request) as timeline:
        runner.make(request, timeline)
    print(request.id)
    return 0


@contextmanager
def _waterfall(request: RunRequest) -> Iterator[Timeline | None]:
    """Give a run that is watched its timeline, which began when this process did; with --timing, show it at the end."""
    if request.observation is None:
        yield None
        return
    from prun.cli import waterfall
    from prun.timeline import Timeline

    timeline = Timeline(request.id, waterfall.began_ns())
    try:
        yield timeline
    finally:
        if request.observation.timing:
            waterfall.show(timeline)


def check_combination(request: RunRequest) -> None:
    """Refuse options that contradict each other, in docker's words.

    Raises:
        InvalidArgument: they do.
    """
    if request.restart and request.remove:
        raise InvalidArgument("conflicting options: cannot specify both --restart and --rm")
    if request.detach and request.attach:
        raise InvalidArgument("conflicting options: cannot specify both --attach and --detach")
    if request.dry_run and request.observation:
        raise InvalidArgument(
            "conflicting options: --dry-run runs nothing that could be timed, traced or locked",
            hint="leave --timing, --trace, --events-fd and --lock out",
        )


def spec(words: Sequence[str], settings: Mapping[str, str]) -> int:
    """Print the finished config.json of such a run; nothing is executed."""
    import json

    parsed = parse(words, SPEC, "spec")
    form = parsed.values["format"]
    if form and not parsed.flags["explain"]:
        raise InvalidArgument("--format is for --explain", hint="the spec itself is JSON")
    runner, request = _made_of(parsed, settings)
    _become_root(runner, settings)
    if not parsed.flags["explain"]:
        print(json.dumps(runner.plan(request), indent=2))
        return 0
    from prun.cli.explanation import as_json, as_text

    explanation = runner.explain(request)
    if form == "json":
        print(json.dumps({"fields": as_json(explanation)}, indent=2))
        return 0
    for line in as_text(explanation):
        print(line)
    return 0


def _become_root(runner: Runner, settings: Mapping[str, str]) -> None:
    """Enter a user namespace where the runtime needs root and we are an ordinary user."""
    from prun.cli import own_root_is_wanted

    if own_root_is_wanted(settings) and runner.hooks.describe_runtime().needs_root:
        from prun.cli.namespace import enter

        enter(runner.state)


def asked(command: str, words: Sequence[str], settings: Mapping[str, str]) -> tuple[Runner, RunRequest]:
    """Parse ``[OPTIONS] IMAGE [COMMAND] [ARG...]`` into a runner and its request.

    What files say lies beneath the words; IMAGE may be the name of a run in one of them (``prun.cli.named``).
    """
    return _made_of(parse(words, RUN, command), settings)


def _made_of(parsed: Parsed, settings: Mapping[str, str]) -> tuple[Runner, RunRequest]:
    form = parsed.values.get("dry_run", "")
    sys.dont_write_bytecode = sys.dont_write_bytecode or bool(form)
    file, profiles = parsed.values["file"], parsed.lists["profile"] or names_of(os.environ.get("PRUN_PROFILE")) or ()
    if file and settings.get("config"):
        raise InvalidArgument("conflicting options: cannot specify both --config and --file")
    chosen = {option.name: parsed.values[option.name] for option in ENGINE if parsed.values[option.name]}
    settings = {**settings, **chosen, **({"config": file} if file else {})}
    runner = runner_of(settings, runtime=parsed.values["runtime"])
    flags = {key: Origin("flag", f"--{key.replace('_', '-')}") for key in parsed.asked}
    if not (runner.settings.documents or runner.settings.found or profiles):
        return runner, request_of(parsed.asked, parsed.rest, runner)._replace(
            origins={key: (origin,) for key, origin in flags.items()}, dry_run=form
        )
    from prun.cli.named import named

    return runner, named(parsed, runner, flags, profiles)._replace(dry_run=form)


def runner_of(settings: Mapping[str, str], *, runtime: str = "") -> Runner:
    """Make a runner from the global options."""
    runner = Runner(
        runtime=runtime,
        engine=settings.get("engine", ""),
        engine_options={key: settings[key] for key in ENGINE_OPTIONS if key in settings},
        plugins=names_of(settings.get("plugins")),
        root=settings.get("root", ""),
        state=settings.get("state", ""),
        config=settings.get("config", ""),
        warn=_warn,
    )
    if "hooks_dir" in settings:
        runner.settings = _with_hooks(runner.settings, settings["hooks_dir"].split("\0"))
    if "own_process" in settings:
        runner.last_resort = lambda message: _give_up(message, runner)
    return runner


def _with_hooks(settings: Settings, directories: list[str]) -> Settings:
    """Return the settings with a table for ``oci-hooks`` that names these directories, and no others, as podman's."""
    from prun.config import PluginSettings

    table = settings.plugins.get("oci-hooks", PluginSettings())
    options = {**table.options, "hooks-dir": [os.path.abspath(each) for each in directories]}
    return settings._replace(plugins={**settings.plugins, "oci-hooks": table._replace(enabled=True, options=options)})


def _give_up(message: str, runner: Runner) -> NoReturn:
    """End this process, in which a plugin hangs; what it leaves behind, another prun clears."""
    import subprocess
    import sys

    from prun.cli.output import error_line
    from prun.ending import own_command
    from prun.limits import really_exit

    print(error_line(PluginError(message, hint="report it to the plugin's author, or leave it out")), file=sys.stderr)
    words = (*own_command(runner.root, runner.state), "system", "check", "--quick")
    null = subprocess.DEVNULL
    subprocess.Popen(words, start_new_session=True, stdin=null, stdout=null, stderr=null)
    really_exit(125)


def _warn(message: str) -> None:
    from prun.cli.output import warn

    warn(message)


def request_of(asked: Asked, words: Sequence[str], runner: Runner) -> RunRequest:
    """Turn options, and the words behind them, into a request.

    Raises:
        InvalidArgument: IMAGE is missing, or a value cannot be used.
    """
    rootfs = "rootfs" in asked
    if not rootfs and not words:
        raise InvalidArgument("IMAGE is missing", hint="prun run [OPTIONS] IMAGE [COMMAND] [ARG...]")
    container_id = checked_name(one(asked, "id"))
    docker = docker_config(_warn)
    request = fields(asked)
    request["env"] = (*docker.env, *request["env"])  # type: ignore[misc]  # a tuple of words
    if docker.detach_keys is not None and request.get("detach_keys") is None:
        request["detach_keys"] = docker.detach_keys
    return RunRequest(
        id=container_id or new_id(),
        image="" if rootfs else words[0],
        args=tuple(words if rootfs else words[1:]),
        name=checked_name(one(asked, "name")) or container_id,
        runtime=runner.runtime,
        engine=runner.engine,
        engine_options=runner.engine_options,
        platform=wanted_platform(one(asked, "platform")),
        options={**runner.settings.options(runner.runtime), **pairs("opt", many(asked, "opt"), need_value=True)},
        root=runner.root,
        state=runner.state,
        config=runner.config,
        aliases=runner.settings.aliases,
        progress=None if flag(asked, "quiet") else _progress,
        **request,  # type: ignore[arg-type]  # the fields' types are those of their modules
    )


def wanted_platform(word: str) -> Platform | None:
    """Return the platform asked for, or docker's default where there is one, or None."""
    if word:
        return parse_platform(word)
    default = os.environ.get(DEFAULT_PLATFORM, "")
    try:
        return parse_platform(default) if default else None
    except InvalidArgument as error:
        raise InvalidArgument(f"{DEFAULT_PLATFORM}: {error}", hint=error.hint) from error


def _progress() -> AbstractContextManager[Listener | None]:
    from prun.cli.progress import shown

    return shown("auto")
