"""The library: run a container and get its result, in this process and without a daemon.

>>> import prun
>>> result = prun.run("busybox", ["echo", "hi"])
>>> result.exit_code, result.stdout
(0, b'hi\\n')
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from prun.errors import InvalidArgument, NotFound, Unimplemented
from prun.types import EMBEDDED, NOTHING, Origin, RunRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any, Unpack

    from prun.config import Settings
    from prun.config.layers import Layered
    from prun.containers import Containers
    from prun.engines.embedded.pulling import Access
    from prun.files import Files
    from prun.live import ExecRequest
    from prun.logs import Entry
    from prun.options import ExecOptions, RegistryOptions, RunnerOptions, RunOptions
    from prun.planning import Plan
    from prun.plugins import Hooks
    from prun.request import Asked
    from prun.services import ImageService
    from prun.signals import ForwardedSignals
    from prun.spec.difference import Difference
    from prun.spec.document import Spec
    from prun.spec.provenance import Explanation
    from prun.timeline import Timeline
    from prun.types import Platform

# They are about a user at a terminal.
COMMAND_LINE_ONLY = frozenset(("detach_keys", "interactive", "quiet", "sig_proxy", "tty"))
_OF_ENGINE = ("address", "namespace", "snapshotter")
_RENAMED = {"annotations": "annotation", "labels": "label", "remove": "rm"}


class Result(NamedTuple):
    """How a run ended: the container's exit code (128+n for signal n), what it wrote, and its id.

    ``timed_out``: prun killed it when ``timeout`` had passed; the exit code is then 137.  ``left``: it lives on
    (``detach``), its exit code is not known yet.  ``timeline``: where the time went, if ``timing`` asked for that.
    """

    exit_code: int
    stdout: bytes
    stderr: bytes
    id: str
    timed_out: bool = False
    left: bool = False
    timeline: Timeline | None = None


class Reference(NamedTuple):
    """An image in a store or a registry: its full name, and the digest of what that names."""

    name: str
    digest: str


class Runner:
    """Runs containers with one choice of runtime, plugins and directories; may be used from several threads.

    ``engine_options`` say which engine of its kind: containerd's are ``address``, ``namespace`` and ``snapshotter``.
    ``plugins``: names of the plugins to load, all when None.  ``config``: a ``prun.toml`` beside the usual ones.
    ``warn`` is told, in a sentence, what went wrong without stopping anything.

    Raises:
        NotFound: no such runtime, plugin or config file.
        PluginError: a plugin could not be loaded.
    """

    def __init__(
        self,
        *,
        runtime: str = "",
        engine: str = "",
        engine_options: Mapping[str, str] = NOTHING,
        plugins: Sequence[str] | None = None,
        root: str = "",
        state: str = "",
        config: str = "",
        warn: Callable[[str], None] | None = None,
    ) -> None:
        from prun import state as places
        from prun.config import read_settings

        self.config = config or os.environ.get("PRUN_CONFIG", "")
        self.settings: Settings = read_settings(self.config)
        self._asked = {"runtime": runtime, "engine": engine}
        self._asked_of_engine = engine_options
        self.root = root or os.environ.get("PRUN_ROOT") or self.settings.root or places.default_root()
        self.state = state or os.environ.get("PRUN_STATE") or self.settings.state or places.default_state()
        self._layered: Layered | None = None
        self.take(NOTHING)
        self._plugins = plugins
        self._warn = warn
        self._hooks: Hooks | None = None
        self.last_resort: Callable[[str], NoReturn] | None = None

    @classmethod
    def from_config(
        cls, run: str = "", *, file: str = "", profiles: Sequence[str] = (), **more: Unpack[RunnerOptions]
    ) -> Runner:
        """Make a runner that has beneath the options of each call what files say.

        That is ``[defaults]``, the ``[run.NAME]`` of ``run``, and profiles; ``run()``, ``create()`` and the like can
        then do without an image, and ``args`` are put behind the run's command.  ``file`` is a ``prun.toml`` beside
        the usual ones.  Any other runner takes of the files what is no option of a run (``[runtimes]``,
        ``[registries]``, ...): a program's runs do not change because somebody likes other defaults.

        Raises:
            NotFound: there is no such file, run or profile.
            InvalidConfig: a file says what it cannot.
        """
        from prun.config.choosing import Chooser

        runner = cls(config=file, **more)
        chooser = Chooser(runner.settings)
        document = chooser.run(run) if run else None
        if run and document is None:
            raise NotFound(f"no file has a [run.{run}]{chooser.unused}", hint="see `prun config show`")
        runner._layered = chooser.layers(run, document, profiles)
        runner.take(runner._layered.options)
        return runner

    def take(self, options: Asked) -> None:
        """Choose runtime and engine: as the caller says, or the environment, or ``options`` of files, or their top."""
        chosen = {
            key: asked or os.environ.get(f"PRUN_{key.upper()}") or str(options.get(key, ""))
            for key, asked in self._asked.items()
        }
        self.runtime = chosen["runtime"] or self.settings.runtime or "linux"
        self.engine = chosen["engine"] or self.settings.engine or EMBEDDED
        said = {key: str(options[key]) for key in _OF_ENGINE if key in options}
        self._engine_options = {**self.settings.engines.get(self.engine, NOTHING), **said, **self._asked_of_engine}

    @property
    def engine_options(self) -> Mapping[str, str]:
        """Which engine of its kind: what was asked for, and what the engine makes of the rest.

        Raises:
            NotFound: no installed distribution offers that engine.
            InvalidArgument: it has no such option, or cannot use one.
        """
        if self.engine == EMBEDDED and not self._engine_options:
            return NOTHING
        from prun.loading import engine_options

        return engine_options(self.engine, self._engine_options)

    @property
    def hooks(self) -> Hooks:
        """The registered plugins; loaded when first asked for."""
        if self._hooks is None:
            self._hooks = self.hooks_of(self.runtime)
        return self._hooks

    def hooks_of(self, runtime: str) -> Hooks:
        """Load the plugins for a runtime: that of a container may be another than ours."""
        from prun import loading

        only = loading.names_of(os.environ.get("PRUN_PLUGINS")) if self._plugins is None else self._plugins
        return loading.load(
            runtime,
            engine=self.engine,
            only=only,
            settings=self.settings.plugins,
            warn=self._warn,
            last_resort=self.last_resort,
        )

    @property
    def images(self) -> ImageService:
        """The images of an engine that keeps them elsewhere than in our own store.

        Raises:
            Unimplemented: this one does not.
        """
        from prun.loading import engine_module

        module = engine_module(self.engine)
        if module is None:
            raise Unimplemented(f"the images of engine {self.engine} are those of the store", hint="Runner.pull, push")
        return module.image_service(self.root, self.engine_options, self.settings.aliases)

    @property
    def containers(self) -> Containers:
        """The containers that are there."""
        from prun.containers import Containers

        return Containers(self)

    @property
    def files(self) -> Files:
        """Files of containers: ``diff``, ``export``, ``copy``, ``commit``."""
        from prun.files import Files

        return Files(self.root, self.state, self.settings.aliases)

    def run(self, image: str = "", args: Iterable[str] = (), **options: Unpack[RunOptions]) -> Result:
        """Run a container to its end, with its output captured; it is removed unless ``remove=False``.

        With ``detach=True`` return as soon as it has been started.

        Raises:
            PrunError: prun failed; the container's own failure is an exit code.
        """
        return self.execute(self.request(image, args, **options)._replace(capture=True))

    def spec(self, image: str = "", args: Iterable[str] = (), **options: Unpack[RunOptions]) -> Spec:
        """Return the finished OCI spec of that run; nothing is executed."""
        return self.plan(self.request(image, args, **options))

    def pull(self, name: str, *, all_platforms: bool = False, **options: Unpack[RegistryOptions]) -> Reference:
        """Fetch an image from a registry, for this machine unless ``platform`` or ``all_platforms`` say otherwise.

        Raises:
            NotFound, PermissionDenied, Unavailable, DataLoss: no registry gives it, or not whole.
        """
        from prun.engines.embedded.pulling import pull_image
        from prun.state import Store

        if all_platforms and options.get("platform"):
            raise InvalidArgument("all_platforms and platform cannot both be", hint="leave one out")
        how: dict[str, Any] = {
            "platform": _platform(options),
            "everything": all_platforms,
            "access": _access(options),
            "listener": options.get("progress"),
            "signature_policy": options.get("signature_policy"),
        }
        if self.engine != EMBEDDED:
            row = self.images.pull(name, self.settings, **how)
        else:
            with Store(self.root, self.state, self.settings.aliases) as store:
                row = pull_image(store, name, self.settings, **how)
        return Reference(row.name, row.digest)

    def push(self, image: str, destination: str = "", **options: Unpack[RegistryOptions]) -> Reference:
        """Send an image to a registry, under its own name or ``destination``; with ``platform`` for that one only.

        Raises:
            NotFound: there is no such image here.
            PermissionDenied, Unavailable: the registry does not take it.
        """
        from prun.engines.embedded.pushing import push_image
        from prun.state import Store

        if self.engine != EMBEDDED:
            raise Unimplemented(f"engine {self.engine} does not support push")
        with Store(self.root, self.state, self.settings.aliases) as store:
            pushed = push_image(
                store,
                image,
                self.settings,
                destination=destination,
                platform=_platform(options),
                access=_access(options),
                listener=options.get("progress"),
            )
        return Reference(pushed.name, pushed.digest)

    def exec(self, container: str, args: Iterable[str], **options: Unpack[ExecOptions]) -> Result:
        """Execute a command in a container that runs, with its output captured; the result's id is the session's.

        With ``detach=True`` return as soon as it has been started.

        Raises:
            PrunError: prun failed; the command's own failure is an exit code.
        """
        from prun.live import ExecRequest
        from prun.request.lifecycle import descriptors

        if isinstance(args, str):
            raise InvalidArgument(f"args {args!r} is a string", hint="a list of words, one each")
        asked = dict[str, "Any"](options)
        for name in ("detach_keys", "interactive", "terminal", "tty"):
            if name in asked:
                raise InvalidArgument(f"{name} is an option of the command line only", hint="leave it out")
        env = asked.pop("env", NOTHING)
        fds = descriptors(str(asked.pop("preserve_fds", 0)))
        unknown = set(asked) - {"user", "workdir", "privileged", "detach", "stdin"}
        if unknown:
            raise InvalidArgument(f"exec has no option {sorted(unknown)[0]!r}")
        if asked.get("detach") and asked.get("stdin"):
            raise InvalidArgument("stdin cannot be given to a command that is detached", hint="leave one of them out")
        request = ExecRequest(
            new_id(), tuple(args), tuple(f"{key}={value}" for key, value in env.items()), preserve_fds=fds,
            capture=not asked.get("detach"), **asked,
        )  # fmt: skip
        return self.execute_in(container, request)

    def execute_in(self, container: str, request: ExecRequest, signals: ForwardedSignals | None = None) -> Result:
        """Execute a finished request in the container of a name or an id; ``signals`` are those of ``execute``."""
        from prun.executing import execute
        from prun.recovery import recover
        from prun.state import Store

        with Store(self.root, self.state) as store:
            recover(store)
            done = execute(store, store.find(container), request, signals)
        code = 0 if done.status is None else done.status.code
        return Result(code, done.stdout, done.stderr, request.id, left=done.status is None)

    def execute(
        self, request: RunRequest, signals: ForwardedSignals | None = None, timeline: Timeline | None = None
    ) -> Result:
        """Run a finished request; ``signals`` are those of ``pipeline.run``, ``timeline`` is told what takes time."""
        from prun import pipeline

        if request.engine != self.engine:
            raise InvalidArgument(
                f"the container is one of engine {request.engine}, this runner's is {self.engine}",
                hint=f"Runner(engine={request.engine!r})",
            )
        with self._hooks_for(request, timeline) as (hooks, kept):
            outcome = pipeline.run(request, hooks, signals)
        return Result(
            outcome.status.code, outcome.stdout, outcome.stderr, request.id, outcome.timed_out, outcome.left, kept
        )

    def replay_lock(
        self,
        path: str,
        *,
        strict: bool = False,
        name: str = "",
        capture: bool = True,
        differing: Callable[[Sequence[Difference]], None] | None = None,
        signals: ForwardedSignals | None = None,
    ) -> Result:
        """Run what a lock says (``run(lock=FILE)``), as a new container; a lock is run as a script is: with care.

        ``differing`` is told, before anything is created, what is not as it was: from the lock, to now.

        Raises:
            FailedPrecondition: it would not be the same run, and ``strict`` asks for that.
            InvalidArgument: it is no lock.
        """
        from prun import pipeline
        from prun.locking import check_hooks, compared, read_lock, refuse_differences
        from prun.observing import watched
        from prun.replaying import with_locked_image
        from prun.timeline import Timeline

        lock = read_lock(path)
        check_hooks(lock, path)
        hooks = self.hooks if lock.request.runtime == self.runtime else self.hooks_of(lock.request.runtime)
        request = lock.request._replace(
            id=new_id(), name=checked_name(name or lock.request.name), root=self.root, state=self.state,
            config=self.config, aliases=self.settings.aliases, capture=capture and not lock.request.detach,
            engine=self.engine, engine_options=self.engine_options,
        )  # fmt: skip
        request = with_locked_image(request, lock, hooks, strict=strict)

        def judge(now: Mapping[str, object]) -> None:
            found = compared(lock.document, now)
            if strict:
                refuse_differences(found, path)
            if found and differing:
                differing(found)

        with watched(request, lambda: hooks, Timeline(request.id), judge) as own:
            outcome = pipeline.run(request, own, signals)
        return Result(outcome.status.code, outcome.stdout, outcome.stderr, request.id, outcome.timed_out, outcome.left)

    @contextmanager
    def _hooks_for(
        self, request: RunRequest, timeline: Timeline | None = None
    ) -> Iterator[tuple[Hooks, Timeline | None]]:
        """Give the hooks for a run, and the timeline that they tell: none where nobody wants to be told."""
        if request.observation is None:
            yield self.hooks, None
            return
        from prun.observing import watched
        from prun.timeline import Timeline

        timeline = timeline or Timeline(request.id)
        with watched(request, lambda: self.hooks, timeline) as hooks:
            yield hooks, timeline

    def create(self, image: str = "", args: Iterable[str] = (), **options: Unpack[RunOptions]) -> str:
        """Make a container without starting it, and return its id.

        Raises:
            PrunError: prun failed.
        """
        asked: RunOptions = {"remove": False, **options}
        request = self.request(image, args, **asked)
        self.make(request)
        return request.id

    def make(self, request: RunRequest, timeline: Timeline | None = None) -> None:
        """Make the container of a finished request without starting it; ``timeline`` as in ``execute``."""
        from prun import pipeline

        with self._hooks_for(request, timeline) as (hooks, _):
            pipeline.create(request, hooks)

    def logs(self, container: str, *, follow: bool = False, tail: int | None = None) -> Iterator[Entry]:
        """Return what a container has written, the last ``tail`` lines of it; ``follow``: until it has ended.

        Raises:
            NotFound: there is no such container.
            FailedPrecondition: it has no log.
        """
        from prun import logs, state

        with state.Store(self.root, self.state) as store:
            row = store.find(container)
            if follow:
                yield from (item[1] for item in logs.follow(store, [logs.Follower(store, row, tail)]) if item)
                return
            with logs.LogFile(logs.log_path(store, row), tail) as file:
                yield from file.read(last=True)

    def plan(self, request: RunRequest) -> Spec:
        """Return the finished OCI spec of a request."""
        from prun import pipeline

        return pipeline.plan(request, self.hooks)

    def explain(self, request: RunRequest) -> Explanation:
        """Return why each field of the spec of a request is as it is: ``.chain("/process/args")``."""
        from prun import pipeline

        return pipeline.explain(request, self.hooks)

    def dry_run(self, request: RunRequest) -> Plan:
        """Return what would be done for a request; nothing is written, and no root is needed."""
        from prun import pipeline

        return pipeline.dry_run(request, self.hooks)

    def request(self, image: str = "", args: Iterable[str] = (), **options: Unpack[RunOptions]) -> RunRequest:
        """Turn words into a request.

        Raises:
            InvalidArgument: a value cannot be used.
        """
        from prun.request import OPTIONS, words_of
        from prun.request.whole import PLAIN

        if isinstance(args, str):
            raise InvalidArgument(f"args {args!r} is a string", hint="a list of words, one each")
        if isinstance(options.get("security_opt"), str):
            raise InvalidArgument(f"security_opt={options['security_opt']!r} is not a list", hint="a list of words")
        given = dict[str, "Any"](options)
        mounts, stdin = tuple(given.pop("mounts", ())), given.pop("stdin", None)
        if "entrypoint" in given and given["entrypoint"] is None:
            del given["entrypoint"]
        asked = {_RENAMED.get(name, name): words_of(name, value) for name, value in given.items()}
        for name in asked.keys() - OPTIONS - PLAIN - COMMAND_LINE_ONLY:
            raise TypeError(f"a run has no option {name!r}")
        args, said = tuple(args), {name: Origin("call", name) for name in asked}
        origins: Mapping[str, tuple[Origin, ...]] = {name: (origin,) for name, origin in said.items()}
        if self._layered:
            asked, origins = self._layered.under(asked), self._layered.origins_under(said)
            image, args = image or self._layered.image, (*self._layered.command, *args)
        for name in COMMAND_LINE_ONLY.intersection(asked):
            place = f" ({origins[name][-1]})" if origins[name][-1].file else ""
            raise InvalidArgument(f"{name} is an option of the command line only{place}", hint="leave it out")
        try:
            return self._request(image, args, asked)._replace(mounts=mounts, stdin=stdin, origins=origins)
        except InvalidArgument as error:
            if self._layered is None:
                raise
            from prun.config.blame import blamed

            raise blamed(error, self._layered, asked) from error

    def _request(self, image: str, args: tuple[str, ...], asked: Asked) -> RunRequest:
        from prun.image.platform import parse_platform
        from prun.request import many, one
        from prun.request.environment import pairs
        from prun.request.whole import fields

        container_id, platform = checked_name(one(asked, "id")), one(asked, "platform")
        return RunRequest(
            id=container_id or new_id(),
            image=image,
            args=args,
            name=checked_name(one(asked, "name") or container_id),
            runtime=self.runtime,
            engine=self.engine,
            engine_options=self.engine_options,
            platform=parse_platform(platform) if platform else None,
            options={**self.settings.options(self.runtime), **pairs("opt", many(asked, "opt"), need_value=True)},
            root=self.root,
            state=self.state,
            config=self.config,
            aliases=self.settings.aliases,
            **fields({"rm": True, **asked}),  # type: ignore[arg-type]  # the fields' types are those of their modules
        )


def run(image: str, args: Iterable[str] = (), *, runtime: str = "linux", **options: Unpack[RunOptions]) -> Result:
    """Run a container to its end and return its exit code, output and id; see ``Runner.run``."""
    return Runner(runtime=runtime).run(image, args, **options)


def new_id() -> str:
    """Return a new container id: 64 hexadecimal digits, as docker's."""
    return os.urandom(32).hex()


def checked_name(name: str) -> str:
    """Return a container's name or id if it can be one: ``/?[a-zA-Z0-9][a-zA-Z0-9_.-]*``, docker's rule.

    The slash, a remnant of docker's links, is none of the name.

    Raises:
        InvalidArgument: it cannot; the OCI runtimes and the file system would not take it either.
    """
    import re

    name = name.removeprefix("/")
    if name and (not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*", name) or len(name) > 128):
        raise InvalidArgument(
            f"container name {name!r} is not usable", hint="at most 128 of [a-zA-Z0-9_.-], a letter or digit first"
        )
    return name


def _platform(options: RegistryOptions) -> Platform | None:
    from prun.image.platform import parse_platform

    return parse_platform(options["platform"]) if options.get("platform") else None


def _access(options: RegistryOptions) -> Access:
    from prun.engines.embedded.pulling import Access
    from prun.image.registry.auth import Login

    login = Login(options["username"], options.get("password", "")) if options.get("username") else None
    auth_file, cert_dir = options.get("auth_file", ""), options.get("cert_dir", "")
    return Access(login, auth_file, cert_dir, options.get("tls_verify"))
