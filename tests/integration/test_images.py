"""The commands on images, on a real store: docker's words, fields and output."""

from __future__ import annotations

import gzip
import json
import os
import pty
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
from images import busybox_layer, directory, file, layer_tar, oci_layout, put_image, put_index

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Prun


@pytest.fixture
def prun(new_prun: Callable[[], Prun], archive: Path) -> Prun:
    """A store with busybox in it that is the test's own."""
    prun = new_prun()
    done(prun, "load", "--tag", "busybox", str(archive))
    return prun


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    path = tmp_path / "layout"
    oci_layout(path, [layer_tar([directory("etc"), file("etc/a", b"1")]), layer_tar([file("etc/b", b"22")])],
               {"Cmd": ["true"], "Labels": {"kind": "made"}}, tag="made")  # fmt: skip
    return path


def done(prun: Prun, *words: str, **more: Any) -> str:
    """Run a command that must succeed without a word on stderr."""
    found = prun(*words, **more)
    assert (found.returncode, found.stderr) == (0, ""), found
    return found.stdout


def refused(prun: Prun, *words: str) -> str:
    found = prun(*words)
    assert found.returncode == 125, found
    assert found.stderr.count("\n") == 1
    assert "a fault of prun" not in found.stderr
    return found.stderr


def names(prun: Prun, *words: str) -> list[str]:
    return sorted(done(prun, "images", "--format", "{{.Repository}}:{{.Tag}}", *words).split())


def identity(prun: Prun, name: str) -> str:
    [record] = json.loads(done(prun, "image", "inspect", name))
    return str(record["Id"])


def blobs(prun: Prun) -> list[str]:
    return sorted(os.listdir(prun.root / "content/blobs/sha256"))


# load


def test_load_takes_dockers_spellings(new_prun: Callable[[], Prun], archive: Path) -> None:
    for words, stdin in ((["-i", str(archive)], None), (["--input", str(archive)], None), ([str(archive)], None),
                         ([], archive), (["-"], archive)):  # fmt: skip
        prun = new_prun()
        said = done(prun, "load", *words, stdin=stdin.read_bytes() if stdin else None)
        assert said == "Loaded image: docker.io/library/busybox:latest\n"
        assert names(prun) == ["busybox:latest"]


def test_load_takes_the_path_of_input_as_it_is(prun: Prun, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "oci-archive:x").write_bytes(archive.read_bytes())
    command = [*prun.words, "load", "-qi", "oci-archive:x"]
    assert subprocess.check_output(command, cwd=tmp_path, text=True) == "docker.io/library/busybox:latest\n"


def test_load_refuses_two_sources_and_a_terminal(prun: Prun, archive: Path) -> None:
    assert "both given" in refused(prun, "load", "-i", str(archive), str(archive))
    leader, follower = pty.openpty()
    try:
        found = subprocess.run([*prun.words, "load"], stdin=follower, capture_output=True, text=True, check=False)
    finally:
        os.close(leader)
        os.close(follower)
    assert found.returncode == 125
    assert "is a terminal" in found.stderr


# save


def test_what_is_saved_is_loaded_with_the_same_digests(prun: Prun, new_prun: Callable[[], Prun], layout: Path) -> None:
    done(prun, "load", "--tag", "made:1", f"oci:{layout}")
    done(prun, "tag", "made:1", "example.com/made:two")
    archive = layout.parent / "all.tar"
    done(prun, "save", "-o", str(archive), "busybox", "made:1", "example.com/made:two")
    other = new_prun()
    assert sorted(done(other, "load", "-q", "-i", str(archive)).split()) == [
        "docker.io/library/busybox:latest", "docker.io/library/made:1", "example.com/made:two",
    ]  # fmt: skip
    assert blobs(other) == blobs(prun)
    for name in ("busybox", "made:1", "example.com/made:two"):
        assert identity(other, name) == identity(prun, name)


def test_a_docker_archive_has_dockers_layers_and_the_same_config(
    prun: Prun, new_prun: Callable[[], Prun], layout: Path
) -> None:
    done(prun, "load", "--tag", "made:1", f"oci:{layout}")
    archive = layout.parent / "docker.tar"
    done(prun, "save", "--format", "docker-archive", "-o", str(archive), "made:1", "busybox")
    members = subprocess.check_output(["tar", "tf", str(archive)], text=True).split()
    assert len([name for name in members if name.endswith(".tar")]) == 3
    other = new_prun()
    done(other, "load", "-i", f"{archive}")
    assert names(other) == ["busybox:latest", "made:1"]
    before, after = (json.loads(done(each, "image", "inspect", "made:1"))[0] for each in (prun, other))
    assert before["RootFS"] == after["RootFS"]
    assert before["Config"] == after["Config"]


def test_saving_twice_gives_the_same_bytes_to_a_file_and_to_a_pipe(prun: Prun, tmp_path: Path) -> None:
    done(prun, "save", "-o", str(tmp_path / "a.tar"), "busybox")
    piped = subprocess.check_output([*prun.words, "save", "busybox"])
    assert piped == (tmp_path / "a.tar").read_bytes()
    assert os.listdir(tmp_path) == ["a.tar"]


def test_save_refuses_a_terminal_and_leaves_no_half_of_a_file(prun: Prun, tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    try:
        found = subprocess.run(
            [*prun.words, "save", "busybox"], stdout=follower, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(leader)
        os.close(follower)
    assert found.returncode == 125
    assert "refusing to save to a terminal" in found.stderr
    largest = max((prun.root / "content/blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[1000] ^= 1
    largest.chmod(0o600)
    largest.write_bytes(data)
    (tmp_path / "before.tar").write_bytes(b"before")
    assert "is damaged" in refused(prun, "save", "-o", str(tmp_path / "before.tar"), "busybox")
    assert (tmp_path / "before.tar").read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["before.tar"]
    assert "directory does not exist" in refused(prun, "save", "-o", str(tmp_path / "no/x.tar"), "busybox")
    assert "is a directory" in refused(prun, "save", "-o", str(tmp_path), "busybox")


def test_one_platform_of_several_is_saved(prun: Prun, new_prun: Callable[[], Prun], tmp_path: Path) -> None:
    platforms = [{"os": "linux", "architecture": name} for name in ("amd64", "arm64")]
    layers = [busybox_layer(), layer_tar([file("x", b"arm")])]
    targets = [{**put_image(tmp_path, [layer], {}, platform=platform), "platform": platform}
               for layer, platform in zip(layers, platforms, strict=True)]  # fmt: skip
    put_index(tmp_path, targets)
    done(prun, "load", "--tag", "both", f"oci:{tmp_path}")
    done(prun, "save", "--platform", "linux/arm64", "-o", str(tmp_path / "arm.tar"), "both")
    other = new_prun()
    done(other, "load", "-i", str(tmp_path / "arm.tar"))
    assert json.loads(done(other, "image", "inspect", "both"))[0]["Architecture"] == "arm64"
    assert identity(other, "both") == targets[1]["digest"]
    assert "linux/s390x" in refused(prun, "save", "--platform", "linux/s390x", "both")


# import


@pytest.mark.parametrize("compressor", ["cat", "gzip", "zstd", "xz", "bzip2"])
def test_a_root_file_system_is_imported(prun: Prun, tmp_path: Path, compressor: str) -> None:
    packed = subprocess.run([compressor, *["-c"][: compressor != "cat"]], input=busybox_layer(), capture_output=True,
                            check=True).stdout  # fmt: skip
    changes = ["-c", 'CMD ["sh", "-c", "echo $WORD from $PWD"]', "--change", "ENV WORD=hello PATH=/bin",
               "-c", "WORKDIR /tmp", "-m", "made by hand"]  # fmt: skip
    said = done(prun, "import", *changes, "-", "imported:1", stdin=packed)
    assert said.strip() == identity(prun, "imported:1")
    assert done(prun, "run", "--rm", "imported:1") == "hello from /tmp\n"
    [step] = json.loads(done(prun, "history", "--format", "json", "imported:1"))
    assert step["Comment"] == "made by hand"
    (tmp_path / "fs.tar").write_bytes(packed)
    unnamed = done(prun, "import", str(tmp_path / "fs.tar")).strip()
    assert f"<none>:<none> {unnamed}" in done(
        prun, "images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"x" * 2000, "checksum"),
        (gzip.compress(busybox_layer())[:5000], ""),
        (layer_tar([file("a", b"1")])[:512], "ends"),
        (b"\xfd7zXZ\0" + b"x" * 100, "decompressed"),
        (b"\x04\x22\x4d\x18" + b"x" * 100, "lz4"),
        (layer_tar([(lambda info: (setattr(info, "uid", 1 << 31), info)[1])(directory("x"))]), "out of range"),
    ],
)
def test_what_is_no_root_file_system_becomes_no_image(prun: Prun, data: bytes, message: str) -> None:
    before = blobs(prun)
    found = prun("import", "-", "broken", stdin=data)
    assert found.returncode == 125, found
    assert message in found.stderr
    assert blobs(prun) == before
    assert names(prun) == ["busybox:latest"]
    assert done(prun, "system", "check") == "nothing is left over\n"


def test_import_says_what_it_cannot_take(prun: Prun, tmp_path: Path) -> None:
    assert "is a URL" in refused(prun, "import", "https://example.invalid/x.tar")
    assert "is a directory" in refused(prun, "import", str(tmp_path))
    assert "does not exist" in refused(prun, "import", str(tmp_path / "x.tar"))
    assert "did not understand change instruction" in refused(prun, "import", "-c", "RUN x", str(tmp_path / "x.tar"))
    assert "has a digest" in refused(prun, "import", "x.tar", f"x@sha256:{'0' * 64}")


# tag, images


def test_a_name_that_moves_leaves_none_behind(prun: Prun, layout: Path) -> None:
    done(prun, "load", "--tag", "made:1", f"oci:{layout}")
    old = identity(prun, "busybox")
    done(prun, "tag", "made:1", "busybox")
    assert names(prun) == ["<none>:<none>", "busybox:latest", "made:1"]
    assert done(prun, "images", "-q", "--no-trunc", "--filter", "dangling=true").strip() == old
    assert names(prun, "-f", "dangling=false") == ["busybox:latest", "made:1"]
    done(prun, "tag", old, "back")
    assert names(prun) == ["back:latest", "busybox:latest", "made:1"]
    assert "has a digest" in refused(prun, "tag", "made:1", f"x@{old}")
    assert "must be lower case" in refused(prun, "tag", "made:1", "UP")
    assert "could not resolve" in refused(prun, "tag", "nobody", "x")


def test_images_are_filtered_and_sorted(prun: Prun, layout: Path) -> None:
    done(prun, "load", "--tag", "example.com/team/made:1", f"oci:{layout}")
    done(prun, "tag", "busybox", "busybox:two")
    made, box = "example.com/team/made:1", ["busybox:latest", "busybox:two"]
    assert names(prun, "busybox") == box
    assert names(prun, "busybox:two") == ["busybox:two"]
    assert names(prun, "--filter", "reference=busy*:t?o") == ["busybox:two"]
    assert names(prun, "--filter", "reference=*made") == []
    assert names(prun, "--filter", "reference=example.com/*/made") == [made]
    assert names(prun, "--filter", "label=kind") == [made]
    assert names(prun, "--filter", "label=kind=made", "--filter", "label=kind=other") == []
    assert names(prun, "--filter", "label!=kind") == box
    assert names(prun, "--filter", f"id={identity(prun, made)[7:17]}") == [made]
    assert names(prun, "--filter", f"since={box[0]}") == [made]
    assert names(prun, "--filter", f"before={made}") == box
    assert names(prun, "--filter", "until=1h") == []
    assert len(names(prun, "--filter", f"until={time.time() + 5:.0f}")) == 3
    for word, message in (("color=red", "KEY=VALUE with one of"), ("dangling=maybe", "true or false"),
                          ("since=nobody", "could not resolve"), ("until=never", "is no time")):  # fmt: skip
        assert message in refused(prun, "images", "--filter", word)
    for key, order in (("repository", [*box, made]), ("tag", [made, *box]), ("size", [made, *box])):
        lines = done(prun, "images", "--sort", key, "--format", "{{.Repository}}:{{.Tag}}").split()
        assert lines == order, key


def test_history_tells_the_layers_and_their_unpacked_sizes(prun: Prun, layout: Path) -> None:
    done(prun, "load", "--tag", "made", f"oci:{layout}")
    rows = json.loads(done(prun, "history", "--no-trunc", "--format", "json", "made"))
    assert [(row["CreatedBy"], row["Size"]) for row in rows] == [("layer 1", 2), ("layer 0", 1)]
    assert [row["ID"] for row in rows] == [identity(prun, "made"), "<missing>"]
    lines = done(prun, "history", "made").splitlines()
    assert lines[0].split() == ["IMAGE", "CREATED", "CREATED", "BY", "SIZE", "COMMENT"]
    assert done(prun, "history", "-q", "made").splitlines()[1] == "<missing>"


# rmi, prune, exists


def test_rmi_goes_on_after_a_failure_and_tells_it(prun: Prun, layout: Path) -> None:
    done(prun, "load", "--tag", "made", f"oci:{layout}")
    found = prun("rmi", "nobody", "made", "nothing")
    assert found.returncode == 125
    assert 'could not resolve "nobody"' in found.stderr
    assert 'could not resolve "nothing"' in found.stderr
    assert "Untagged: docker.io/library/made:latest" in found.stdout
    assert names(prun) == ["busybox:latest"]
    assert done(prun, "rmi", "-f", "nobody") == ""
    assert "either IMAGE or --all" in refused(prun, "rmi")
    done(prun, "rmi", "--all")
    assert (names(prun), blobs(prun)) == ([], [])


@pytest.mark.parametrize("form", ["{}", "sha256:{}", "busybox@sha256:{}"])
def test_an_id_removes_the_only_name_and_several_with_force(prun: Prun, form: str) -> None:
    word = form.format(identity(prun, "busybox").removeprefix("sha256:"))
    done(prun, "tag", "busybox", "busybox:two")
    assert "has several names" in refused(prun, "rmi", word)
    assert done(prun, "rmi", "-f", word).count("Untagged") == 2
    assert blobs(prun) == []


def test_an_image_in_use_goes_by_force_once_its_container_has_stopped(prun: Prun) -> None:
    done(prun, "run", "--name", "user", "busybox", "touch", "/made")
    assert "in use by container user" in refused(prun, "rmi", "busybox")
    digest = identity(prun, "busybox")
    kept = blobs(prun)
    assert done(prun, "rmi", "-f", "busybox") == "Untagged: docker.io/library/busybox:latest\n"
    assert names(prun) == []
    assert done(prun, "images", "-a", "--no-trunc", "-q").strip() == digest
    assert blobs(prun) == kept
    assert done(prun, "system", "check") == "nothing is left over\n"
    done(prun, "rm", "user")
    done(prun, "image", "prune", "-f")
    assert blobs(prun) == []
    assert [path.name for path in (prun.root / "snapshots").iterdir() if path.name.isdigit()] == []


def test_an_image_of_a_running_container_stays_whatever_the_force(prun: Prun) -> None:
    process = prun.popen("run", "--rm", "--name", "user", "busybox", "sh", "-c", "echo up; sleep 100")
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        assert "rm -f user" in refused(prun, "rmi", "-f", "busybox")
        assert done(prun, "image", "prune", "-af") == "Total reclaimed space: 0B\n"
    finally:
        prun("rm", "-f", "user")
        process.communicate(timeout=20)
    assert done(prun, "image", "prune", "-af").startswith("Deleted Images:\nUntagged: docker.io/library/busybox:latest")


def test_prune_takes_what_has_no_name_and_with_all_what_is_unused(prun: Prun, layout: Path) -> None:
    done(prun, "load", "--tag", "made", f"oci:{layout}")
    done(prun, "tag", "made", "busybox")
    found = prun("image", "prune", stdin=b"n\n")
    assert (found.returncode, "all dangling images" in found.stdout) == (130, True)
    assert done(prun, "image", "prune", "-f", "--filter", "label=none") == "Total reclaimed space: 0B\n"
    assert "MB" in done(prun, "image", "prune", "-f").splitlines()[-1]
    assert names(prun) == ["busybox:latest", "made:latest"]
    done(prun, "image", "prune", "-af", "--filter", "label!=kind=made")
    assert names(prun) == ["busybox:latest", "made:latest"]
    done(prun, "image", "prune", "-af", "--filter", "label=kind")
    assert (names(prun), blobs(prun)) == ([], [])


def test_exists_answers_by_its_exit_code(prun: Prun) -> None:
    assert prun("image", "exists", "busybox").returncode == 0
    found = prun("image", "exists", "nobody")
    assert (found.returncode, found.stdout, found.stderr) == (1, "", "")


def test_the_image_group_has_the_commands_of_the_top(prun: Prun, tmp_path: Path) -> None:
    done(prun, "image", "tag", "busybox", "b")
    names_and_ids = ("--format", "{{.Repository}}:{{.Tag}} {{.ID}}")
    assert done(prun, "image", "ls", *names_and_ids) == done(prun, "images", *names_and_ids)
    assert done(prun, "image", "history", "b") == done(prun, "history", "busybox")
    done(prun, "image", "save", "-o", str(tmp_path / "x.tar"), "b")
    done(prun, "image", "rm", "b")
    done(prun, "image", "load", "-i", str(tmp_path / "x.tar"))
    done(prun, "image", "import", "-m", "x", "-", "c", stdin=layer_tar([file("x", b"1")]))
    assert names(prun) == ["b:latest", "busybox:latest", "c:latest"]
    record = json.loads(done(prun, "image", "inspect", "b"))[0]
    assert record["RepoDigests"] == [f"docker.io/library/{name}@{record['Id']}" for name in ("b", "busybox")]
    assert done(prun, "image", "inspect", "-f", "{{.Os}}", "b") == "linux\n"


def test_removing_waits_for_no_load_and_takes_nothing_from_it(prun: Prun, tmp_path: Path) -> None:
    """A load whose source is slow has named nothing yet; what it found to be there already must stay."""
    done(prun, "save", "-o", str(tmp_path / "saved.tar"), "busybox")
    data = (tmp_path / "saved.tar").read_bytes()
    process = subprocess.Popen([*prun.words, "load", "-q"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(data[:-4096])
    process.stdin.flush()
    ingest = prun.root / "content/ingest"
    deadline = time.monotonic() + 20
    while not any("sha256:" in name for path in ingest.iterdir() for name in os.listdir(path)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert "Untagged" in done(prun, "rmi", "busybox", timeout=20)
    out, _ = process.communicate(data[-4096:], timeout=30)
    assert (process.returncode, out) == (0, b"docker.io/library/busybox:latest\n")
    done(prun, "save", "-o", str(tmp_path / "again.tar"), "busybox")
    assert (tmp_path / "again.tar").read_bytes() == data
    done(prun, "run", "--rm", "busybox", "true")


# mount


@pytest.mark.parametrize("layers", [1, 2])
def test_an_image_is_mounted_read_only_until_it_is_unmounted(prun: Prun, layout: Path, layers: int) -> None:
    name = {1: "busybox", 2: "made"}[layers]
    done(prun, "load", "--no-unpack", "--tag", "made", f"oci:{layout}")
    path = done(prun, "image", "mount", name).strip()
    try:
        assert sorted(os.listdir(f"{path}/etc")) == {1: [], 2: ["a", "b"]}[layers] or layers == 1
        with pytest.raises(OSError, match="Read-only"):
            os.mkdir(f"{path}/new")
        assert done(prun, "image", "mount", name).strip() == path
        assert done(prun, "image", "mount") == f"docker.io/library/{name}:latest {path}\n"
        assert "is mounted" in refused(prun, "rmi", name)
        assert name not in done(prun, "image", "prune", "-af")
        assert done(prun, "system", "check") == "nothing is left over\n"
    finally:
        digest = done(prun, "image", "unmount", name).strip()
    assert digest == identity(prun, name)
    assert not os.path.exists(path)
    assert "is not mounted" in refused(prun, "image", "umount", name)
    done(prun, "image", "umount", "-f", name)
    done(prun, "image", "mount", "-a")
    assert done(prun, "rmi", "-f", name).startswith("Untagged")
    done(prun, "image", "unmount", "-a")
    assert prun.traces()["mounts"] == []
