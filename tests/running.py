"""What tests of single options need: a run that must succeed, one that prun refuses, one that is still going on."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from command import Prun
from images import busybox_layer, layer_tar, oci_layout

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Sequence

    from images import Entry

# Its name as a source, not in the store: the run loads it.
MADE = "oci:{}:latest"


def shown(prun: Prun, *words: str, stdin: bytes | None = None, **environment: str) -> str:
    """Return the standard output of ``run --rm``, which must succeed without a word of prun's."""
    done = prun("run", "--rm", *words, stdin=stdin, **environment)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def refused(prun: Prun, *words: str, **environment: str) -> str:
    """Return the one line in which prun refuses ``run --rm``."""
    return refusal(prun("run", "--rm", *words, **environment))


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line of a command that prun refused."""
    assert (done.returncode, done.stdout) == (125, ""), done
    assert done.stderr.startswith("prun: "), done
    assert done.stderr.count("\n") == 1, done
    assert "a fault of prun" not in done.stderr, done
    return done.stderr


def made_image(directory: Path, entries: Sequence[Entry] = (), **config: Any) -> str:
    """Make an image of busybox and ``entries`` in ``directory``, and return the source to run it from."""
    layers = [busybox_layer(), *([layer_tar(entries)] if entries else [])]
    settings = {"Cmd": ["true"], "Env": ["PATH=/bin"], **config}
    oci_layout(directory / "image", layers, settings, compression="none")
    return MADE.format(directory / "image")


@contextmanager
def running(
    prun: Prun, name: str, *options: str, command: str = "echo up; sleep 100", image: str = "busybox"
) -> Iterator[str]:
    """Give the first line of a container that runs until the context ends."""
    process = prun.popen("run", "--rm", "--name", name, *options, image, "sh", "-c", command)
    assert process.stdout is not None
    try:
        line = process.stdout.readline().decode()
        assert line, process.communicate(timeout=20)[1].decode()
        yield line
    finally:
        prun("rm", "-f", name)
        process.communicate(timeout=20)


@contextmanager
def public_store(archive: Path) -> Iterator[Prun]:
    """Give a command with busybox, in a directory that other users may go through: pytest's are nobody else's."""
    base = Path(tempfile.mkdtemp(prefix="prun-"))
    base.chmod(0o755)
    prun = Prun(base / "root", base / "state")
    try:
        loaded = prun("load", "--tag", "busybox", str(archive))
        assert loaded.returncode == 0, loaded.stderr
        yield prun
    finally:
        shutil.rmtree(base)
