"""Lines of docs/hostile-images.md that no other test shows: nothing is executed, no member of an archive leads out."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest
from command import bad, good

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Prun
    from debian_registry import DebianRegistry

pytestmark = pytest.mark.usefixtures("own_logins")


def test_nothing_is_executed_to_load_pull_and_push(
    new_prun: Callable[[], Prun], registry: DebianRegistry, archive: Path, tmp_path: Path
) -> None:
    """Not a decompressor, wherever PATH leads (CVE-2026-41567)."""
    prun, name = new_prun(), f"{registry.netloc}/exec/app:1"
    commands = (["load", "--tag", name, "-i", str(archive)], ["push", "-q", name], ["rmi", name], ["pull", "-q", name],
                ["save", "-o", str(tmp_path / "x.tar"), name], ["image", "verify", name])  # fmt: skip
    for words in commands:
        trace = tmp_path / "trace"
        strace = ["strace", "-f", "-qq", "-o", str(trace), "-e", "trace=execve,execveat", *prun.words, *words]
        done = subprocess.run(strace, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        executed = [line for line in trace.read_text().splitlines() if "exec" in line]
        assert len(executed) == 1, executed  # prun itself


def member(
    name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, target: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, len(data)
    return info, data


def entries(config: str = "config.json", layer: str = "layer.tar") -> bytes:
    return json.dumps([{"Config": config, "RepoTags": ["evil:1"], "Layers": [layer]}]).encode()


SECRET = "secret-of-the-host"
ODD = {
    "a link for manifest.json": [member("manifest.json", kind=tarfile.SYMTYPE, target="SECRET")],
    "a hard link for manifest.json": [member("manifest.json", kind=tarfile.LNKTYPE, target="SECRET")],
    "a device for manifest.json": [member("manifest.json", kind=tarfile.CHRTYPE)],
    "a FIFO for manifest.json": [member("manifest.json", kind=tarfile.FIFOTYPE)],
    "a directory for manifest.json": [member("manifest.json", kind=tarfile.DIRTYPE)],
    "a config outside": [member("manifest.json", entries(config="SECRET"))],
    "a config above": [member("manifest.json", entries(config="../../../../../../..SECRET"))],
    "a link for a config": [
        member("manifest.json", entries()),
        member("config.json", kind=tarfile.SYMTYPE, target="SECRET"),
    ],
    "a link for index.json": [
        member("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'),
        member("index.json", kind=tarfile.SYMTYPE, target="SECRET"),
    ],
}


@pytest.mark.parametrize("how", ["file", "pipe"])
@pytest.mark.parametrize("odd", ODD)
def test_a_member_that_is_no_plain_file_is_not_followed(
    new_prun: Callable[[], Prun], tmp_path: Path, odd: str, how: str
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for info, data in ODD[odd]:
            made = tarfile.TarInfo(info.name)
            data = data.replace(b"SECRET", str(secret).encode())
            made.type, made.linkname, made.size = info.type, info.linkname.replace("SECRET", str(secret)), len(data)
            tar.addfile(made, io.BytesIO(data))
    (tmp_path / "evil.tar").write_bytes(out.getvalue())
    prun = new_prun()
    words = ["load", "-i", str(tmp_path / "evil.tar")] if how == "file" else ["load"]
    error = bad(prun(*words, stdin=out.getvalue() if how == "pipe" else None))
    assert SECRET not in error
    assert error.count("\n") == 1
    assert good(prun("images", "-q")) == ""
    assert good(prun("system", "check")) == "nothing is left over\n"
