"""The hooks of the audit: a line before a container's process is created, when it ends, and when it is refused."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from prun import hookimpl
from prun.errors import PrunError
from prun_audit.log import append

if TYPE_CHECKING:
    from collections.abc import Generator

    from prun.spec.document import Spec
    from prun.types import Event, Image, Problem, RunRequest, Task

NOBODY = 0xFFFFFFFF  # the login uid of what no login has started: a service, an early boot


class Audit:
    """Writes lines to one file."""

    #: What a policy refuses is told only if we stand around it.
    prun_after = ("policy?",)

    def __init__(self, file: str) -> None:
        self._file = file
        self._digests: dict[str, str] = {}

    @hookimpl(wrapper=True)
    def prun_resolve_image(self, request: RunRequest) -> Generator[None, Image | None, Image | None]:
        """Remember the digest; an image that is refused or missing is told."""
        try:
            image = yield
        except PrunError as error:
            self._write("refused", request, reasons=[str(error)])
            raise
        if image is not None:
            self._digests[request.id] = image.digest
        return image

    @hookimpl(wrapper=True)
    def prun_check_spec(
        self, request: RunRequest, spec: Spec
    ) -> Generator[None, list[list[Problem]], list[list[Problem]]]:
        """Tell what is refused, and why."""
        answers = yield
        if reasons := [str(problem) for answer in answers for problem in answer]:
            self._write("refused", request, spec, image_digest=self._digests.pop(request.id, ""), reasons=reasons)
        return answers

    @hookimpl(wrapper=True)
    def prun_create_task(
        self, request: RunRequest, bundle: str, spec: Spec
    ) -> Generator[None, Task | None, Task | None]:
        """Tell what is going to run; no line, no process."""
        import hashlib

        with open(os.path.join(bundle, "config.json"), "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        known = {"image_digest": self._digests.pop(request.id, ""), "spec_sha256": digest}
        self._write("create", request, spec, **known)
        try:
            return (yield)
        except PrunError as error:
            self._write("failed", request, spec, **known, reasons=[str(error)])
            raise

    @hookimpl
    def prun_event(self, event: Event) -> None:
        """Tell how it ended."""
        if event.kind == "exited":
            append(self._file, {**_who(), "event": "exit", "id": event.container_id, "exit_status": event.detail})

    def _write(self, event: str, request: RunRequest, spec: Spec | None = None, **more: object) -> None:
        record = {
            **_who(),
            "event": event,
            "id": request.id,
            "name": request.name,
            "runtime": request.runtime,
            "image": request.image or request.rootfs,
            "argv": spec["process"]["args"] if spec else list(request.args),
            "detached": request.detach,
            "privileged": request.privileged,
        }
        append(self._file, {**record, **more})


def _who() -> dict[str, object]:
    """Say when, and whose process this is: of an ordinary user's namespace, the user's own uid."""
    time = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return {"time": time, "uid": _uid(), "login_uid": _login_uid(), "pid": os.getpid()}


def _uid() -> int | None:
    if sys.platform == "win32":
        return None
    from prun.rootless import MARK, is_rootless

    return int(os.environ[MARK]) if is_rootless() else os.getuid()


def _login_uid() -> int | None:
    """Return the user who has logged in, whatever sudo has made of that since (proc_pid_loginuid(5))."""
    try:
        with open("/proc/self/loginuid", encoding="ascii") as file:
            uid = int(file.read())
    except (OSError, ValueError):
        return None
    return None if uid == NOBODY else uid
