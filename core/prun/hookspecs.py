"""Every hook that prun calls, in the order in which ``prun run`` calls them: the reference documentation.

Plugins are registered in tiers, from general to specific:

    1 defaults (prun.builtin.defaults) < 2 the runtime < 3 the engine < 4 plugins < 5 config
    < 6 flags (prun.builtin.flags)

*First* hooks ask the most specific tier first and stop at the first answer that is not None.  *All* hooks ask
everyone; the answers are used from general to specific, so that the last word is the most specific one.  A hookimpl
may leave out arguments that it does not need, repeats the annotations of those it takes, and gives none a default
value (pluggy before 1.7 leaves such an argument out of the call, 1.7 fills it in).

A module or object that implements hooks may also set

``prun_before``, ``prun_after``: names of tier-4 plugins that it must come before or after, ``NAME?`` if it is there;
``prun_two_step`` = True: it acts between create and start, so the runtime must not do both in one call;
``prun_configure(options)``, ``prun_options``: its options of ``prun.toml`` (docs/hooks.md).

``prun_timeout_s``: how long each of its hooks may take; ten seconds, unless given; 0 for as long as it likes.

An exception that is no ``PrunError`` is reported as a ``PluginError`` that names the plugin (``prun.guard``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prun._marker import hookspec

if TYPE_CHECKING:
    from prun.spec import SpecOpt
    from prun.spec.document import Spec
    from prun.types import (
        Console,
        Container,
        Event,
        Image,
        Mount,
        PlanStep,
        Platform,
        Problem,
        Rootfs,
        RunRequest,
        RuntimeInfo,
        Task,
    )


@hookspec(firstresult=True)
def prun_describe_runtime() -> RuntimeInfo | None:
    """Say which runtime this is, what it can run, and whether it can run here (first).

    Called once a run, before anything is looked up, and by ``prun doctor`` and ``prun plugins``: it must be quick
    and change nothing.
    """


@hookspec(firstresult=True)
def prun_resolve_image(request: RunRequest, platform: Platform) -> Image | None:
    """Turn ``request.image`` into a digest, a config and layers for ``platform`` (first).

    A plugin that is not responsible for such a reference returns None.

    Raises:
        NotFound: this plugin is responsible, and there is no such image, or none for the platform.
    """


@hookspec(firstresult=True)
def prun_prepare_rootfs(request: RunRequest, image: Image, bundle: str) -> Rootfs | None:
    """Make the image's root file system usable, at or below the directory ``bundle`` (first).

    With ``request.view_only`` the answer is only read from: nothing may be unpacked, mounted or written.
    ``bundle`` is then empty.
    """


@hookspec
def prun_spec_opts(request: RunRequest, image: Image, rootfs: Rootfs) -> list[SpecOpt]:
    """Return options to apply to the spec, in order (all).

    An option is made by a factory that checks its arguments now and changes the spec later; see ``prun.spec``.
    """
    return []


@hookspec
def prun_mounts(request: RunRequest, image: Image) -> list[Mount]:
    """Return mounts to add to the spec, parents before children (all).

    A mount whose destination an earlier answer has already named takes that one's place.  A wrapper
    (``@hookimpl(wrapper=True)``) may rewrite everyone's.
    """
    return []


@hookspec
def prun_check_spec(request: RunRequest, spec: Spec) -> list[Problem]:
    """Return every problem of the finished spec (all); one is enough to refuse the run.

    All problems of all plugins are reported together.  A policy's veto is a problem whose message is its reason.
    The spec must not be changed.
    """
    return []


@hookspec
def prun_plan_steps(request: RunRequest, image: Image, bundle: str, spec: Spec) -> list[PlanStep]:
    """Say what this plugin would do for such a run, in order (all).

    Asked by ``--dry-run`` instead of the hooks below: nothing may be written, fetched or executed.  ``bundle`` is where
    the bundle would be.
    """
    return []


@hookspec(firstresult=True)
def prun_open_console(request: RunRequest, spec: Spec) -> Console | None:
    """Open what carries the standard streams: inherited descriptors, pipes, a pty (first)."""


@hookspec(firstresult=True)
def prun_create_task(request: RunRequest, bundle: str, spec: Spec, console: Console) -> Task | None:
    """Create the container's process without starting it (first).

    ``bundle`` is a directory that holds ``config.json`` (the same document as ``spec``) and ends with the run.
    Unless ``request.two_step`` is set, a runtime may put the creation off to ``Task.start``.

    Raises:
        CommandNotFound, CommandNotInvocable: exit codes 127 and 126.
        Unavailable: the OCI runtime or the engine failed.
    """


@hookspec(firstresult=True)
def prun_load_task(container: Container) -> Task | None:
    """Find the task of a container that another process created: for kill, wait and delete (first).

    Returns a task whose ``delete`` removes everything the runtime still holds, also when the process is long gone.
    """


@hookspec
def prun_event(event: Event) -> None:
    """Observe (all).  Called synchronously, in the order of the tiers; the result is ignored."""


NAMES = tuple(name for name in list(globals()) if name.startswith("prun_"))  # in this order
