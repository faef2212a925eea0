"""Rows of docs/seed-parity.md that no other test shows through the real command."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from images import (
    MANIFEST,
    busybox_layer,
    descriptor,
    digest,
    directory,
    document,
    file,
    layer_tar,
    machine_platform,
    oci_layout,
    put_blob,
    put_image,
    put_index,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Prun

LAYER = busybox_layer()
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
ENTRYPOINT = {"Entrypoint": ["echo", "entry"], "Cmd": ["default"], "Env": ["PATH=/bin"]}


@pytest.fixture(scope="module")
def image_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, Any]], str]:
    def make(config: dict[str, Any]) -> str:
        path = tmp_path_factory.mktemp("image") / "layout"
        oci_layout(path, [LAYER], config, compression="none")
        return f"oci:{path}:latest"

    return make


def test_an_id_in_use_is_refused_with_its_owner(prun: Prun) -> None:
    """S1."""
    assert prun("run", "--id", "same", "busybox", "true").returncode == 0
    done = prun("run", "--id", "same", "busybox", "true")
    assert done.returncode == 125
    assert "same" in done.stderr
    assert "in use" in done.stderr


def test_the_runtime_is_chosen_by_name_and_an_unknown_one_lists_those_installed(prun: Prun) -> None:
    """S4: linux is the default; windows is there and says why not here; nobody has written vmware-linux yet."""
    assert prun("run", "--rm", "--runtime", "linux", "busybox", "echo", "hi").stdout == "hi\n"
    assert "nothing was executed" in prun("run", "--rm", "--runtime", "fake", "busybox", "echo", "hi").stderr
    done = prun("run", "--rm", "--runtime", "windows", "busybox", "echo", "hi")
    assert (done.returncode, "needs Windows" in done.stderr) == (125, True)
    done = prun("run", "--rm", "--runtime", "vmware-linux", "busybox", "echo", "hi")
    assert done.returncode == 125
    assert "'vmware-linux'" in done.stderr
    assert all(name in done.stderr.partition("installed:")[2] for name in ("fake", "linux", "windows"))


def test_the_platform_picks_the_manifest_and_the_layers_make_the_root(prun: Prun, tmp_path: Path) -> None:
    """S7: index, manifest, config, diff IDs; the upper layer is over the lower one."""
    base = {"Env": ["PATH=/bin"], "Cmd": ["cat", "/etc/which"]}
    lower = layer_tar([file("etc/which", b"lower\n")])
    upper = layer_tar([directory("etc"), file("etc/which", b"ours\n")])
    other = layer_tar([file("etc/which", b"another machine's\n")])
    foreign = "arm64" if machine_platform()["architecture"] == "amd64" else "amd64"
    platforms = [({"os": "linux", "architecture": foreign}, [other]), (machine_platform(), [LAYER, lower, upper])]
    targets = [{**put_image(tmp_path, layers, base, platform=each), "platform": each} for each, layers in platforms]
    index = document({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": targets})
    put_blob(tmp_path, index)
    put_index(tmp_path, [descriptor("application/vnd.oci.image.index.v1+json", index)])
    assert prun("run", "--rm", f"oci:{tmp_path}").stdout == "ours\n"


@pytest.mark.parametrize(
    ("media_type", "accepted"),
    [
        ("application/vnd.oci.image.config.v1+json", True),
        ("application/vnd.docker.container.image.v1+json", True),
        ("application/vnd.docker.plugin.v1+json", False),
        ("text/plain", False),
    ],
)
def test_only_the_two_config_media_types_are_accepted(
    prun: Prun, tmp_path: Path, media_type: str, accepted: bool
) -> None:
    """S9."""
    docker = "docker" in media_type
    config = document(
        {
            **machine_platform(),
            "config": {"Cmd": ["echo", "hi"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [digest(LAYER)]},
        }
    )
    manifest_type = DOCKER_MANIFEST if docker else MANIFEST
    manifest = document(
        {
            "schemaVersion": 2,
            "mediaType": manifest_type,
            "config": descriptor(media_type, config),
            "layers": [descriptor(DOCKER_LAYER if docker else "application/vnd.oci.image.layer.v1.tar", LAYER)],
        }
    )
    for blob in (config, LAYER, manifest):
        put_blob(tmp_path, blob)
    put_index(tmp_path, [descriptor(manifest_type, manifest)])
    done = prun("run", "--rm", f"oci:{tmp_path}")
    if accepted:
        assert (done.returncode, done.stdout) == (0, "hi\n"), done.stderr
    else:
        assert done.returncode == 125
        assert f"unknown image config media type {media_type!r}" in done.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "entry default\n"), (["of", "mine"], "entry of mine\n"),
    ],
)  # fmt: skip
def test_the_command_line_replaces_the_images_cmd_and_not_its_entrypoint(
    prun: Prun, image_of: Callable[[dict[str, Any]], str], words: list[str], expected: str
) -> None:
    """S11."""
    assert prun("run", "--rm", image_of(ENTRYPOINT), *words).stdout == expected
    assert prun("run", "--rm", "--entrypoint", "echo", image_of(ENTRYPOINT), *words).stdout == " ".join(words) + "\n"


def test_the_default_path_comes_first_and_later_entries_win(
    prun: Prun, image_of: Callable[[dict[str, Any]], str]
) -> None:
    """S12."""
    config = {"Env": ["A=1", "B=2", "A=3"], "WorkingDir": "/var", "Cmd": ["/bin/sh", "-c", "pwd"]}
    spec = json.loads(prun("spec", "-e", "B=4", image_of(config)).stdout)
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert spec["process"]["env"] == [path, f"HOSTNAME={spec['hostname']}", "HOME=/root", "A=3", "B=4"]
    assert spec["process"]["cwd"] == "/var"
    assert prun("run", "--rm", image_of(config)).stdout == "/var\n"


def test_the_mounts_are_in_the_seeds_order_with_its_options(prun: Prun) -> None:
    """S14."""
    mounts = {m["destination"]: m for m in json.loads(prun("spec", "busybox").stdout)["mounts"]}
    options = {name: mount["options"] for name, mount in mounts.items()}
    assert list(mounts)[:7] == ["/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/run"]
    assert options["/dev"] == ["nosuid", "strictatime", "mode=755", "size=65536k"]
    assert options["/dev/pts"] == ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
    assert options["/dev/shm"] == ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]
    assert options["/sys"] == ["nosuid", "noexec", "nodev", "ro"]
    assert options["/run"] == options["/dev"]
    assert list(mounts)[7] == "/sys/fs/cgroup"  # the seed has none
    assert "ro" in options["/sys/fs/cgroup"]
    host_files = [name for name in mounts if name.startswith("/etc/")]
    assert host_files[:3] == ["/etc/resolv.conf", "/etc/hosts", "/etc/hostname"]
    assert set(host_files[3:]) <= {"/etc/localtime"}
    # Copies that this container may change, where the seed mounts the host's own read-only.
    assert all(mounts[name]["source"].startswith(str(prun.state / "bundles")) for name in host_files)
    assert all(("ro" in options[name]) == (name == "/etc/localtime") for name in host_files)


def test_with_a_terminal_there_is_no_separate_stderr(prun: Prun) -> None:
    """S18."""
    done = prun("run", "--rm", "-t", "busybox", "sh", "-c", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == ("out\r\nerr\r\n", "")
    done = prun("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


def test_stdin_is_copied_until_its_end_and_then_closed(prun: Prun) -> None:
    """S18: ``cat`` ends because its stdin does."""
    data = b"line\n" * 100_000
    assert (
        prun("run", "--rm", "-i", "busybox", "sh", "-c", "cat; echo end", stdin=data).stdout == data.decode() + "end\n"
    )


def test_without_rm_what_the_container_wrote_stays_until_it_is_removed(prun: Prun) -> None:
    """S20: the seed left the snapshot behind for good."""
    assert prun("run", "--id", "kept", "busybox", "touch", "/mine").returncode == 0
    assert [path.name for path in (prun.root / "snapshots" / "active").iterdir()] == ["kept"]
    assert prun("rm", "kept").returncode == 0
    assert prun.traces()["writable"] == []
