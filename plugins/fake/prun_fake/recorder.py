"""A plugin that records one run, with any runtime, so that it can be replayed without one (docs/testing.md).

    [plugins.recorder]
    file = "run.jsonl"

It stands around the root file system, the console and the task, and writes down what goes through
(``prun_fake.recording`` has the format).  A recording holds the container's environment and its output: look before you
show it to others.
"""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

from prun import hookimpl
from prun.errors import AlreadyExists, InvalidArgument, PrunError
from prun_fake.recording import FORMAT, described

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping
    from contextlib import AbstractContextManager
    from types import TracebackType

    from prun.types import Console, Event, FileStat, Image, Mount, Rootfs, RunRequest, Task

prun_options = {"file": "where to write the recording; there must be nothing yet"}

CHUNK_BYTES = 1 << 16


def prun_configure(options: Mapping[str, object]) -> Recorder:
    """Make the plugin.

    Raises:
        InvalidArgument: no file is named.
    """
    file = options.get("file")
    if not isinstance(file, str) or not file:
        raise InvalidArgument(f"recorder: file is {file!r}", hint="[plugins.recorder] file = ...")
    return Recorder(file)


class Recorder:
    """Records one run into ``file``, which it makes."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._fd = -1
        self._began = 0.0
        self._lock = threading.Lock()

    def note(self, **what: object) -> None:
        """Write one line, as it happens: of a run that is killed there is what came before."""
        with self._lock:
            at = round(time.monotonic() - self._began, 6)
            with suppress(OSError):  # a full disk is no fault of the run; the recording says by itself that it is short
                os.write(self._fd, json.dumps({"at_s": at, **what}).encode() + b"\n")

    @hookimpl(wrapper=True)
    def prun_resolve_image(self, request: RunRequest) -> Generator[None, Image | None, Image | None]:
        """Begin, and keep the image without its layers: a replay has no files of it."""
        from prun.request.stored import dumped

        if request.monitored or request.terminal:
            raise InvalidArgument(
                "a run whose streams do not pass through prun cannot be recorded", hint="with --rm, without -d and -t"
            )
        try:
            self._fd = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except FileExistsError as error:
            raise AlreadyExists(f"recording {self.file} is there already", hint="remove it, or name another") from error
        except OSError as error:
            raise InvalidArgument(f"recording {self.file} cannot be written: {error.strerror}") from error
        self._began = time.monotonic()
        head = {"format": FORMAT, "runtime": request.runtime, "request": json.loads(dumped(request))}
        self.note(recording=head)
        with self._failing("resolve"):
            image = yield
        if image is not None:
            config = json.loads(json.dumps(image.config))
            self.note(image={**image._asdict(), "config": config, "layers": []})
        return image

    @hookimpl(wrapper=True)
    def prun_prepare_rootfs(self) -> Generator[None, Rootfs | None, Rootfs | None]:
        """Stand around the root file system."""
        with self._failing("prepare"):
            rootfs = yield
        return rootfs and _Rootfs(rootfs, self)

    @hookimpl(wrapper=True)
    def prun_open_console(self) -> Generator[None, Console | None, Console | None]:
        """Stand around the console."""
        with self._failing("console"):
            console = yield
        return console and _Console(console, self)

    @hookimpl(wrapper=True)
    def prun_create_task(self) -> Generator[None, Task | None, Task | None]:
        """Stand around the task."""
        with self._failing("create"):
            task = yield
        return task and _Task(task, self)

    @hookimpl
    def prun_event(self, event: Event) -> None:
        """Keep what is not of this process."""
        if self._fd < 0:
            return
        if event.kind == "built":
            self.note(spec=event.detail)
        if event.kind == "exited":
            self.note(exit=event.detail)
        self.note(event=event.kind)
        if event.kind == "deleted":
            os.close(self._fd)
            self._fd = -1

    @contextmanager
    def _failing(self, stage: str) -> Iterator[None]:
        try:
            yield
        except PrunError as error:
            self.note(failed={"stage": stage, **described(error)})
            raise


class _Around:
    """Stands around something, and has all that it has besides what is recorded."""

    def __init__(self, inner: Any, recorder: Recorder) -> None:
        self._inner = inner
        self._recorder = recorder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _Rootfs(_Around):
    """Records what was looked at in the root file system."""

    path: str
    mounts: tuple[Mount, ...]

    def __enter__(self) -> Self:
        self._inner.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inner.__exit__(kind, error, trace)

    def read(self, path: str, limit_bytes: int) -> bytes:
        try:
            content: bytes = self._inner.read(path, limit_bytes)
        except PrunError as error:
            self._recorder.note(file={"path": path, "error": described(error)})
            raise
        self._recorder.note(file={"path": path, "content": content.decode(errors="surrogateescape")})
        return content

    def stat(self, path: str) -> FileStat | None:
        found: FileStat | None = self._inner.stat(path)
        self._recorder.note(file={"path": path, "stat": found})
        return found


class _Console(_Around):
    """Pipes between the container and its console, where what goes through is written down."""

    def __enter__(self) -> Self:
        self._inner.__enter__()
        self._ends: dict[str, tuple[int, int]] = {}
        try:
            if self._inner.stdout < 0 or self._inner.stderr < 0:
                raise InvalidArgument("a console without streams of its own cannot be recorded", hint="with --rm")
            for stream in ("stdout", "stderr"):
                self._ends[stream] = os.pipe()
        except BaseException:
            self._inner.__exit__(None, None, None)
            raise
        self.stdin: int = self._inner.stdin
        self.stdout, self.stderr = (self._ends[stream][1] for stream in ("stdout", "stderr"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for ends in self._ends.values():
            for fd in ends:
                os.close(fd)
        self._ends = {}
        self._inner.__exit__(kind, error, trace)

    @contextmanager
    def attach(self, task: Task) -> Iterator[object]:
        inner: AbstractContextManager[object] = self._inner.attach(task)
        with inner:
            carriers = [threading.Thread(target=self._carry, args=(stream,), daemon=True) for stream in self._ends]
            for carrier in carriers:
                carrier.start()
            try:
                yield self
            finally:
                # Ours were the last copies: the carriers see the end once the container's are gone too.
                for stream, (read, write) in self._ends.items():
                    os.close(write)
                    self._ends[stream] = (read, os.open(os.devnull, os.O_WRONLY))
                for carrier in carriers:
                    carrier.join()

    def _carry(self, stream: str) -> None:
        to = getattr(self._inner, stream)
        while chunk := os.read(self._ends[stream][0], CHUNK_BYTES):
            self._recorder.note(**{stream: chunk.decode(errors="surrogateescape")})
            view = memoryview(chunk)
            try:
                while view:
                    view = view[os.write(to, view) :]
            except OSError:
                pass  # whoever read it has gone; the container is not to notice because it is recorded


class _Task(_Around):
    """Records why it did not start."""

    def start(self) -> None:
        with self._recorder._failing("start"):
            self._inner.start()

    def wait(self, timeout_s: float | None = None) -> Any:
        return self._inner.wait(timeout_s)

    def kill(self, signal: int) -> None:
        self._inner.kill(signal)

    def delete(self) -> None:
        self._inner.delete()

    @property
    def pid(self) -> int | None:
        pid: int | None = self._inner.pid
        return pid
