"""The other commands, on a real store."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from command import Prun


def test_images_are_listed_in_dockers_columns_and_as_json(prun: Prun) -> None:
    lines = prun("images").stdout.splitlines()
    assert lines[0].split() == ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
    assert lines[1].split()[:2] == ["busybox", "latest"]
    row = json.loads(prun("images", "--format", "json").stdout)[0]
    assert row["Name"] == "docker.io/library/busybox:latest"
    assert row["Size"] > 1_000_000
    assert prun("images", "-q").stdout.strip() == row["Digest"].removeprefix("sha256:")[:12]


@pytest.mark.parametrize("words", [["ps", "-a"], ["images"], ["plugins"], ["doctor"], ["version"], ["system", "check"]])
def test_every_listing_is_json_when_asked(prun: Prun, words: list[str]) -> None:
    done = prun(*words, "--format", "json")
    assert done.returncode == 0, done.stderr
    assert isinstance(json.loads(done.stdout), dict if words == ["version"] else list)


def test_an_image_is_found_by_all_its_names(prun: Prun) -> None:
    row = json.loads(prun("images", "--format", "json").stdout)[0]
    digest = row["Digest"]
    for words in ("busybox", "busybox:latest", "docker.io/library/busybox", f"busybox@{digest}", digest, digest[7:19]):
        assert prun("run", "--rm", words, "true").returncode == 0, words
    for words in ("busybox:other", "Busybox", f"other@{digest}"):
        assert prun("run", "--rm", words, "true").returncode == 125, words


def test_an_image_is_inspected(prun: Prun) -> None:
    document = json.loads(prun("inspect", "busybox").stdout)[0]
    assert document["RepoTags"] == ["docker.io/library/busybox:latest"]
    assert document["Os"] == "linux"
    assert document["Config"]["Cmd"] == ["sh"]
    assert len(document["RootFS"]["Layers"]) == 1


def test_a_container_is_inspected(prun: Prun) -> None:
    prun("run", "--name", "seen", "busybox", "sh", "-c", "exit 4")
    document = json.loads(prun("inspect", "seen").stdout)[0]
    assert (document["Name"], document["Path"], document["Args"]) == ("seen", "sh", ["-c", "exit 4"])
    assert document["State"] | {"StartedAt": "", "FinishedAt": ""} == {
        "Status": "exited", "Running": False, "Paused": False, "Restarting": False, "OOMKilled": False, "Dead": False,
        "Error": "", "Pid": 0, "ExitCode": 4, "StartedAt": "", "FinishedAt": "",
    }  # fmt: skip
    assert prun("inspect", "nobody").returncode == 125


def test_an_image_in_use_is_not_removed(new_prun: Callable[[], Prun], archive: Path) -> None:
    prun = new_prun()
    prun("load", "--tag", "busybox", str(archive))
    prun("run", "--name", "user", "busybox", "true")
    done = prun("rmi", "busybox")
    assert done.returncode == 125
    assert "is in use by container user" in done.stderr
    assert prun("rm", "user").returncode == 0
    assert "Untagged: docker.io/library/busybox:latest" in prun("rmi", "busybox").stdout
    assert prun("images", "-q").stdout == ""
    assert list((prun.root / "content" / "blobs" / "sha256").iterdir()) == []
    assert [path.name for path in (prun.root / "snapshots").iterdir() if path.name.isdigit()] == []


def test_one_of_two_names_may_go_while_a_container_uses_the_image(new_prun: Callable[[], Prun], archive: Path) -> None:
    prun = new_prun()
    for tag in ("one", "two"):
        prun("load", "--tag", f"busybox:{tag}", str(archive))
    prun("run", "--name", "user", "busybox:one", "true")
    assert prun("rmi", "busybox:one").returncode == 0
    assert prun("run", "--rm", "busybox:two", "true").returncode == 0
    assert prun("rmi", "busybox:two").returncode == 125


@pytest.mark.parametrize("compressor", [None, "gzip", "zstd"])
def test_an_archive_is_loaded_from_stdin(new_prun: Callable[[], Prun], archive: Path, compressor: str | None) -> None:
    prun = new_prun()
    data = archive.read_bytes()
    if compressor:
        data = subprocess.run([compressor, "-c"], input=data, capture_output=True, check=True).stdout
    done = prun("load", "--tag", "busybox", "-", stdin=data)
    assert done.returncode == 0, done.stderr
    assert prun("run", "--rm", "busybox", "echo", "hi").stdout == "hi\n"


def test_a_docker_archive_and_a_layout_of_skopeo_are_loaded(
    new_prun: Callable[[], Prun], archive: Path, tmp_path: Path
) -> None:
    prun = new_prun()
    for target in (f"docker-archive:{tmp_path}/d.tar:example.org/box:1", f"oci:{tmp_path}/layout:box"):
        subprocess.run(["skopeo", "copy", f"oci-archive:{archive}", target], check=True, capture_output=True)
    assert prun("load", f"docker-archive:{tmp_path}/d.tar").stdout == "Loaded image: example.org/box:1\n"
    assert prun("run", "--rm", "example.org/box:1", "echo", "hi").stdout == "hi\n"
    assert prun("load", "--tag", "layout", f"oci:{tmp_path}/layout:box").returncode == 0
    assert prun("run", "--rm", "layout", "echo", "hi").stdout == "hi\n"
    assert prun("run", "--rm", f"oci:{tmp_path}/layout:box", "echo", "hi").stdout == "hi\n"


def test_the_store_is_a_layout_that_skopeo_reads(prun: Prun, tmp_path: Path) -> None:
    source = f"oci:{prun.root}/content:docker.io/library/busybox:latest"
    done = subprocess.run(["skopeo", "inspect", "--raw", source], capture_output=True, text=True, check=True)
    assert len(json.loads(done.stdout)["layers"]) == 1


@pytest.mark.parametrize("damage", ["blob", "truncated", "junk"])
def test_a_damaged_archive_leaves_nothing(
    new_prun: Callable[[], Prun], archive: Path, tmp_path: Path, damage: str
) -> None:
    bad = tmp_path / "bad.tar"
    data = bytearray(archive.read_bytes())
    if damage == "blob":
        with tarfile.open(archive) as tar:
            largest = max(tar.getmembers(), key=lambda member: member.size)
        data[largest.offset_data + 5000] ^= 1
    bad.write_bytes({"blob": data, "truncated": data[:100_000], "junk": os.urandom(100_000)}[damage])
    prun = new_prun()
    done = prun("load", "--tag", "bad", str(bad))
    assert done.returncode == 125
    assert done.stderr.count("\n") == 1
    assert prun("images", "-q").stdout == ""
    blobs = prun.root / "content" / "blobs" / "sha256"
    assert not blobs.exists() or list(blobs.iterdir()) == []


def lying_layout(layout: Path) -> Path:
    """Hand-made, since no honest tool writes one."""
    from images import config_document, document, file, layer_tar, put_blob

    layer = layer_tar([file("a", b"b")])
    config = config_document([layer], None)
    config["rootfs"]["diff_ids"] = ["sha256:" + "0" * 64]
    oci = "application/vnd.oci.image"

    def described(kind: str, data: bytes) -> dict[str, object]:
        return {"mediaType": f"{oci}.{kind}", "digest": put_blob(layout, data), "size": len(data)}

    manifest = {
        "schemaVersion": 2,
        "config": described("config.v1+json", document(config)),
        "layers": [described("layer.v1.tar", layer)],
    }
    index = {"schemaVersion": 2, "manifests": [described("manifest.v1+json", document(manifest))]}
    (layout / "index.json").write_bytes(document(index))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return layout


def test_a_layer_that_lies_about_its_diff_id_leaves_nothing(new_prun: Callable[[], Prun], tmp_path: Path) -> None:
    lying_layout(tmp_path / "layout")
    prun = new_prun()
    done = prun("load", "--tag", "liar", f"oci:{tmp_path}/layout")
    assert done.returncode == 125
    assert "diff" in done.stderr
    assert prun("images", "-q").stdout == ""


def test_the_spec_is_printed_and_nothing_is_executed(prun: Prun, tmp_path: Path) -> None:
    spec = json.loads(prun("spec", "-e", "A=b", "busybox", "echo", "hi").stdout)
    assert spec["process"]["args"] == ["echo", "hi"]
    assert "A=b" in spec["process"]["env"]
    assert prun("ps", "-aq").stdout == ""


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A directory that everybody may go to: pytest closes its own to others whenever one more pytest starts."""
    with tempfile.TemporaryDirectory(dir="/tmp") as path:
        os.chmod(path, 0o755)
        yield Path(path)


def test_the_spec_needs_no_root(archive: Path, open_path: Path) -> None:
    """An ordinary user, with directories of his own."""
    import shutil
    import sys

    home = open_path / "home"
    home.mkdir()
    shutil.copy(archive, home / "busybox.tar")
    for path in (home, home / "busybox.tar"):
        os.chown(path, 65534, 65534)
    # Once as root, so that all modules are there: the interpreter itself may lie where only root can read.
    words = ["spec", "-u", "nobody", f"{home}/busybox.tar", "id"]
    code = f"""if True:
        import contextlib, io, os, sys
        from prun.cli import command
        with contextlib.redirect_stdout(io.StringIO()):
            assert command(["--root", {str(open_path / "r")!r}, "--state", {str(open_path / "s")!r}, *{words!r}]) == 0
        os.setgroups([]), os.setgid(65534), os.setuid(65534)
        sys.exit(command({words!r}))
    """
    done = subprocess.run(
        [sys.executable, "-c", code], env={"HOME": str(home), "PATH": "/usr/bin:/bin"}, cwd="/",
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["process"]["user"]["uid"] == 65534


def test_a_running_container_is_removed_with_force_only(prun: Prun) -> None:
    process = prun.popen("run", "--name", "busy", "busybox", "sh", "-c", "echo up; sleep 100")
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    refused = prun("rm", "busy")
    assert refused.returncode == 125
    assert "is running" in refused.stderr
    assert prun("rm", "-f", "busy").returncode == 0
    process.communicate(timeout=20)
    assert process.returncode == 137
    assert prun("ps", "-aq").stdout == ""
    assert prun("rm", "busy").returncode == 125
    assert prun("rm", "-f", "busy").returncode == 0


def test_untrusted_words_do_not_reach_the_terminal_raw(prun: Prun, tmp_path: Path) -> None:
    done = prun("run", "--rm", "no\x1b]0;evil\x07such")
    assert "\x1b" not in done.stderr


def test_plugins_tells_where_each_comes_from(prun: Prun) -> None:
    rows = {(row["Kind"], row["Name"]): row for row in json.loads(prun("plugins", "--format", "json").stdout)}
    row = rows["runtime", "linux"]
    assert (row["Distribution"], row["Module"], row["State"]) == ("prun", "prun_linux", "enabled")
    assert "prun_create_task" in row["Hooks"]
    assert "binary" in row["Options"]
    assert row["File"].endswith("prun_linux/__init__.py")


def test_hooks_are_traced_on_stderr(prun: Prun) -> None:
    done = prun("run", "--rm", "busybox", "true", PRUN_TRACE_HOOKS="1")
    lines = done.stderr.splitlines()
    assert all(line.startswith("prun: hook prun_") for line in lines)
    assert any("prun_create_task [runtime prun_linux]" in line for line in lines)


def test_a_config_file_chooses_runtime_and_options(prun: Prun, tmp_path: Path) -> None:
    config = tmp_path / "prun.toml"
    config.write_text('runtime = "fake"\n[runtimes.fake]\nstdout = "from the file"\n')
    config.chmod(0o600)
    done = prun("--config", str(config), "run", "--rm", "scratch", "x")
    assert "from the file" in done.stdout


def test_a_failed_run_of_an_archive_leaves_nothing_and_a_blob_too_many_is_found_and_cleared(
    new_prun: Callable[[], Prun], tmp_path: Path
) -> None:
    liar = lying_layout(tmp_path / "layout")
    prun = new_prun()
    assert prun("run", "--rm", f"oci:{liar}", "true").returncode == 125
    assert prun("images", "-q").stdout == ""
    blobs = prun.root / "content" / "blobs" / "sha256"
    assert list(blobs.iterdir()) == []
    (blobs / ("0" * 64)).write_bytes(b"left by a load that was killed")
    assert "which no image needs: removed" in prun("system", "check").stdout
    assert prun("system", "check").stdout == "nothing is left over\n"
