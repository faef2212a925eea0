"""An engine that has one image: that of the recording in ``--opt replay=FILE``.

    prun run --engine replay --runtime fake --opt replay=run.jsonl debian:12

With the fake runtime, which plays the rest of it (``prun_fake.scenario``), a real run is done again without root, image
and network, and plugins see what they saw then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from prun import hookimpl
from prun.errors import InvalidArgument
from prun.types import LIVE_FIELDS, Image, Mount, RunRequest
from prun_fake.recording import load
from prun_fake.scenario import Scenario, Step

if TYPE_CHECKING:
    from types import TracebackType

    from prun.types import FileStat, Rootfs
    from prun_fake.recording import Recording


@hookimpl
def prun_resolve_image(request: RunRequest) -> Image:
    """Return the image of the recording, whatever is asked for."""
    recording = _recording(request)
    if recording.image is None:
        raise InvalidArgument("the recorded run had no image", hint="record a run that comes so far")
    return recording.image


@hookimpl
def prun_prepare_rootfs(request: RunRequest) -> Rootfs:
    """Return what the recorded run looked at; there is nothing else."""
    return Files(_recording(request))


def request_of(file: str, *, root: str, state: str, pace: float) -> RunRequest:
    """Return the recorded request, for the fake runtime and other directories.

    What has been done to the spec already (``--patch``, ``--hook``) is not done to it again.
    """
    defaults = RunRequest._field_defaults
    request = load(file).request
    done = {name: defaults[name] for name in (*LIVE_FIELDS, "patches", "hook_files", "explain")}
    return request._replace(
        **done,
        runtime="fake",
        engine="replay",
        options={"replay": file, "pace": f"{pace:g}"},
        root=root,
        state=state,
        config="",
        capture=True,
        remove=True,
    )


def scenario_of(file: str, pace: float) -> Scenario:
    """Return what a fake container has to do so that a recorded run is done again; times are multiplied with ``pace``.

    Raises:
        NotFound, InvalidArgument: of the recording.
    """
    from copy import deepcopy

    recording = load(file)
    at, steps = recording.started_s, []
    for output in recording.output:
        steps.append(Step(max(0.0, output.at_s - at) * pace, **{output.stream: output.text}))
        at = output.at_s
    if recording.code is not None:
        steps.append(Step(max(0.0, recording.ended_s - at) * pace))
    return Scenario(
        tuple(steps),
        exit=recording.code,
        replay=file,
        spec=deepcopy(recording.spec),
        failure=recording.failure,
    )


def _recording(request: RunRequest) -> Recording:
    if "replay" not in request.options:
        raise InvalidArgument("the engine replay needs a recording", hint="--runtime fake --opt replay=FILE")
    return load(request.options["replay"])


class Files:
    """The part of a root file system that a recorded run looked at."""

    path = ""
    mounts: tuple[Mount, ...] = ()

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def leave(self) -> None:
        return

    def read(self, path: str, limit_bytes: int) -> bytes:
        return self._recording.read(path)

    def stat(self, path: str) -> FileStat | None:
        return self._recording.stat(path)
