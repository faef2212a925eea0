"""Containers of the linux runtime, made by hand: a bundle of busybox, no image and no pipeline."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from command import children

import prun_linux
from prun.console import Captured
from prun.spec import apply, with_args, with_cwd, with_mounts, with_root, with_version
from prun.types import Container, Image, Platform, RunRequest
from prun_linux import cgroups, hostfiles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prun.spec.document import Spec
    from prun.types import Console, ExitStatus, FileStat, Task

# The same tests are run for crun by test_crun.py.
BINARY = os.environ.get("PRUN_TEST_OCI_RUNTIME", "runc")
both = pytest.mark.parametrize("two_step", [False, True], ids=["one-step", "two-step"])
SCRATCH = Image("scratch", "", Platform("linux", "amd64"), {})


def until(condition: Any, timeout_s: float = 10) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


class NoRootfs:
    """A root file system with nothing in it (types.Rootfs)."""

    path = ""
    mounts = ()

    def read(self, path: str, limit_bytes: int) -> bytes:
        from prun.errors import NotFound

        raise NotFound(path)

    def stat(self, path: str) -> FileStat | None:
        return None


def make_spec(request: RunRequest, image: Image = SCRATCH, rootfs: Any = None) -> Spec:
    """What the pipeline makes of a request that says nothing special."""
    opts = prun_linux.prun_spec_opts(request, image, rootfs or NoRootfs())
    spec = apply({}, [with_version, with_root("rootfs"), with_args(request.args), with_cwd("/"), *opts])
    return apply(spec, [with_mounts([*prun_linux.prun_mounts(request), *request.mounts])])


class Machine:
    """A state directory, and containers in it."""

    def __init__(self, directory: Path) -> None:
        self.state = directory / "state"
        self.tree = directory / "tree"
        self.ids: list[str] = []
        # An exception between any two bytecodes may cost a descriptor or leave a zombie until the process ends.
        self.interrupted = False
        self.state.mkdir(0o700)
        self._make_tree()

    def request(self, *args: str, **fields: Any) -> RunRequest:
        container_id = fields.pop("id", None) or secrets.token_hex(32)
        self.ids.append(container_id)
        fields.setdefault("options", {"binary": BINARY})
        return RunRequest(container_id, args=args, state=str(self.state), **fields)

    def bundle(self, request: RunRequest, spec: Spec) -> str:
        bundle = self.state / "bundles" / request.id
        bundle.mkdir(parents=True)
        shutil.copytree(self.tree, bundle / "rootfs", symlinks=True)
        hostfiles.write(request, str(bundle))
        (bundle / "config.json").write_text(json.dumps(spec))
        return str(bundle)

    @contextmanager
    def task(self, *args: str, console: Console | None = None, patch: Any = None, **fields: Any) -> Iterator[Task]:
        """A created task; it is deleted at the end."""
        with ExitStack() as stack:
            request = self.request(*args, **fields)
            spec = make_spec(request)
            if patch:
                patch(spec)
            bundle = self.bundle(request, spec)
            used = stack.enter_context(console or Captured())
            task = prun_linux.prun_create_task(request, bundle, spec, used)
            stack.callback(task.delete)
            yield task

    def run(self, *args: str, stdin: bytes = b"", **fields: Any) -> tuple[ExitStatus | None, bytes, bytes]:
        """Run a command to its end."""
        console = Captured(stdin)
        with self.task(*args, console=console, **fields) as task, console.attach(task):
            task.start()
            status = task.wait()
        return status, *console.output()

    def container(self, container_id: str, **fields: Any) -> Container:
        bundle = str(self.state / "bundles" / container_id)
        options = fields.pop("options", {"binary": BINARY})
        return Container(container_id, "linux", bundle, "", str(self.state), options=options, **fields)

    def leftovers(self) -> list[str]:
        """What still is there of the containers: processes, mounts, cgroups, state of the OCI runtime."""
        found = [path for name in self.ids for path in cgroups.directories(f"/prun/{name}")]
        found += [
            str(path) for name in self.ids for path in self.state.glob(f"*/{name}") if path.parent.name != "bundles"
        ]
        found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(self.state) in line]
        processes = subprocess.run(["ps", "-eo", "pid,stat,args"], capture_output=True, text=True, check=True).stdout
        found += [line for line in processes.splitlines() if any(name in line for name in self.ids)]
        return found

    def _make_tree(self) -> None:
        for name in ("bin", "dev", "proc", "sys", "etc", "tmp"):
            (self.tree / name).mkdir(parents=True)
        shutil.copy("/bin/busybox", self.tree / "bin/busybox")
        for applet in subprocess.run(
            ["/bin/busybox", "--list"], capture_output=True, text=True, check=True
        ).stdout.split():
            if applet != "busybox":
                (self.tree / "bin" / applet).symlink_to("busybox")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """Containers whose test fails if it leaves anything behind."""
    here = Machine(tmp_path)
    descriptors = set(os.listdir("/proc/self/fd"))
    others = children()
    yield here
    if here.interrupted:
        time.sleep(0.2)  # for what is still being executed, and should not be
    assert here.leftovers() == []
    if here.interrupted:
        for pid in children() - others:
            os.waitpid(pid, 0)
        return
    assert set(os.listdir("/proc/self/fd")) <= descriptors
    assert children() <= others
