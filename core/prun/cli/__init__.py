"""The command line: words in, a request out; the only code that prints and exits.

``run`` and ``spec`` are parsed by ``prun.cli.grammar`` and start without click; every other command, and all help, is
click's (``prun.cli.commands``), which is imported only then.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from prun.errors import PrunError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import NoReturn

RUN_LIKE = ("create", "run", "spec")
# All others work on the store, and in it on files that belong to ids of containers; ``unshare`` goes there by itself.
WITHOUT_STORE = frozenset(("completion", "config", "doctor", "login", "logout", "plugins", "unshare", "version"))


def main() -> NoReturn:
    """Run the words of the process's command line and end the process with their exit code."""
    import gc

    # A short life makes little garbage, and looking for it costs 2 ms; tearing the interpreter down costs 4 ms more.
    gc.disable()
    code = command(sys.argv[1:], own_process=True)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            code = code or 125
    os._exit(code)


def command(words: Sequence[str], *, own_process: bool = False) -> int:
    """Run a command line and return its exit code; errors become one line on stderr.

    ``own_process``: this process is there for the command only, which may put it into a user namespace for good
    (``prun.rootless``); where it is not, an ordinary user's command does without one.

    125: prun failed; 126, 127: the container's command cannot be invoked or does not exist; 128+n: signal n;
    otherwise the container's own code.
    """
    settings = {"own_process": "1"} if own_process else {}
    try:
        return _dispatch(words, settings)
    except PrunError as error:
        _report(error, {**_error_format(words), **settings})
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone; keep the interpreter from complaining about it at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except Exception as error:  # noqa: BLE001  the last border: a user never sees a traceback unasked
        _report(_unexpected(error), settings)
        return 125
    except BaseException as error:
        if hasattr(error, "exit_code"):  # signals.Interrupted
            return int(error.exit_code)
        raise


def _dispatch(words: Sequence[str], settings: dict[str, str]) -> int:
    from prun.cli.grammar import parse
    from prun.cli.options import GLOBAL, HELP

    parsed = parse(words, (*GLOBAL, *HELP), "")
    settings.update({key: value for key, value in parsed.values.items() if value})
    if parsed.lists["hooks_dir"]:
        settings["hooks_dir"] = "\0".join(parsed.lists["hooks_dir"])
    if parsed.flags["debug"]:
        settings["debug"] = "1"
    if not parsed.rest or parsed.flags["help"] or parsed.flags["version"]:
        return _click(["--version" if parsed.flags["version"] else "--help"], settings)
    name, *rest = parsed.rest
    if name == "__complete":
        from prun.cli.completion import answered

        print(answered(rest))
        return 0
    if name == "container" and rest and rest[0] in RUN_LIKE:
        name, *rest = rest
    if name in RUN_LIKE and "--help" not in _options_of(rest):
        from prun.cli import run

        return {"create": run.create, "run": run.run, "spec": run.spec}[name](rest, settings)
    engine = settings.get("engine") or os.environ.get("PRUN_ENGINE", "")
    if not engine and name not in WITHOUT_STORE and "--help" not in rest:
        from prun.config import read_settings

        engine = read_settings(settings.get("config") or os.environ.get("PRUN_CONFIG", "")).engine
    if engine not in ("", "embedded"):
        from prun.cli.engine import invoke

        return invoke(engine, parsed.rest, settings)
    if settings.keys() & {"address", "namespace", "snapshotter"}:
        from prun.cli.run import runner_of

        _ = runner_of(settings).engine_options  # says that it has none
    if name == "exec" and "--help" not in _options_before(rest):
        from prun.cli import execution

        if own_root_is_wanted(settings):
            _enter_user_namespace(settings)
        return execution.execute(rest, settings)
    if name not in WITHOUT_STORE and own_root_is_wanted(settings) and "--help" not in rest:
        _enter_user_namespace(settings)
        settings["entered"] = "1"
    return _click(parsed.rest, settings)


def own_root_is_wanted(settings: Mapping[str, str]) -> bool:
    """Tell whether this process is an ordinary user's, and is ours to make root of a user namespace."""
    return "own_process" in settings and sys.platform == "linux" and os.geteuid() != 0


def _enter_user_namespace(settings: Mapping[str, str]) -> None:
    """Go where the user's containers' files and processes are ours; on a machine without, do what can be done so."""
    from prun.cli.namespace import enter
    from prun.cli.run import runner_of
    from prun.rootless import why_not

    if not why_not()[0]:
        enter(runner_of(settings).state)


def _click(words: Sequence[str], settings: Mapping[str, str]) -> int:
    from prun.cli.commands import invoke

    return invoke(words, settings)


def _options_of(words: Sequence[str]) -> Sequence[str]:
    """Return the words up to ``--``; a ``--help`` further on may be the container's, which click decides."""
    return words[: list(words).index("--")] if "--" in words else words


def _options_before(words: Sequence[str]) -> Sequence[str]:
    """Return the words up to the container's name and to ``--``: a ``--help`` further on is the command's."""
    from prun.cli.grammar import options_of
    from prun.cli.options import EXEC

    return options_of(words, EXEC)


def _report(error: PrunError, settings: Mapping[str, str]) -> None:
    from prun.cli.output import tell

    if settings.get("debug"):
        import traceback

        traceback.print_exception(error)
    tell(error, settings)


def _error_format(words: Sequence[str]) -> dict[str, str]:
    """Return what is asked of errors by global options that could not be parsed."""
    from prun.cli.grammar import options_of
    from prun.cli.options import GLOBAL

    before = " ".join(options_of(words, GLOBAL)).replace("--error-format json", "--error-format=json")
    return {"error_format": "json"} if "--error-format=json" in before.split() else {}


def _unexpected(error: Exception) -> PrunError:
    wrapped = PrunError(
        f"{type(error).__name__}: {' '.join(str(error).split())}",
        hint="this is a fault of prun; please report it with the output of --debug",
    )
    wrapped.__cause__ = error
    return wrapped
