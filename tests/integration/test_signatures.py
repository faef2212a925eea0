"""Signature policies of the command: Debian's docker-registry, archives, prun.toml."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command import NOTHING
from images import MANIFEST, busybox_layer, descriptor, document, oci_layout, put_blob, put_image, put_index
from signing import ECDSA, OTHER, encoded, layer_of, manifest_of, payload, rule, tag_of, write_key, write_policy

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from typing import Any

    from command import Prun
    from debian_registry import DebianRegistry

REF, FULL = "org.opencontainers.image.ref.name", "io.containerd.image.name"


@pytest.fixture
def prun(new_prun: Callable[[], Prun]) -> Iterator[Prun]:
    made = new_prun()
    yield made
    assert made.traces() == NOTHING


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    path = tmp_path_factory.mktemp("made") / "layout"
    target = put_image(path, [busybox_layer()], {"Cmd": ["echo", "hi"], "Env": ["PATH=/bin"]})
    put_index(path, [target])
    return path, target


def good(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(prun: Prun, done: subprocess.CompletedProcess[str], *words: str) -> None:
    """The error says why, and nothing of the image is here: no name, no blob, no unpacked layer."""
    assert done.returncode == 125, done.stdout
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr
    assert prun("images", "-aq").stdout == ""
    assert list(Path(prun.root).glob("content/blobs/*/*")) == []
    assert [path for path in Path(prun.root).glob("snapshots/*/*") if path.is_dir()] == []


def put_signatures(layout: Path, key: Any, digest: str, name: str) -> dict[str, Any]:
    """Put a signature of an image into a layout, and return its target."""
    data = payload(digest, name)
    manifest, config = manifest_of(layer_of(data, encoded(key, data)))
    for blob in (data, config, manifest):
        put_blob(layout, blob)
    return descriptor(MANIFEST, manifest)


def push(prun: Prun, tmp_path: Path, target: dict[str, Any], layout: Path, name: str) -> None:
    put_index(layout, [target])
    good(prun("load", "-q", "--tag", name, f"oci:{layout}"))
    good(prun("push", "-q", name))
    good(prun("rmi", name))


def test_an_image_of_a_registry_comes_in_once_it_is_signed(
    prun: Prun, registry: DebianRegistry, layout: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    path, target = layout
    repository = f"{registry.netloc}/team/app"
    key = write_key(tmp_path / "key.pub")
    policy = write_policy(tmp_path / "policy.json", docker={registry.netloc: [rule(key, "matchRepository")]})
    push(prun, tmp_path, target, path, f"{repository}:1")
    words = ("is refused by signature policy", str(key), "there is no signature of it", "cosign sign")
    refused(prun, prun("pull", "-q", "--signature-policy", policy, f"{repository}:1"), *words)
    refused(prun, prun("run", "--rm", "--signature-policy", policy, f"{repository}:1"), *words)
    refused(prun, prun("create", "--signature-policy", policy, f"{repository}:1"), *words)
    refused(prun, prun("run", "--dry-run", "--signature-policy", policy, f"{repository}:1"), *words)

    other = put_signatures(tmp_path / "s1", OTHER, target["digest"], repository)
    push(prun, tmp_path, other, tmp_path / "s1", f"{repository}:{tag_of(target['digest'])}")
    refused(prun, prun("pull", "-q", "--signature-policy", policy, f"{repository}:1"), "is not of this key")
    ours = put_signatures(tmp_path / "s2", ECDSA, target["digest"], repository)
    push(prun, tmp_path, ours, tmp_path / "s2", f"{repository}:{tag_of(target['digest'])}")
    assert good(prun("run", "--rm", "-q", "--signature-policy", policy, f"{repository}:1")) == "hi\n"
    good(prun("rmi", f"{repository}:1"))
    good(prun("pull", "-q", "--signature-policy", policy, f"{repository}@{target['digest']}"))


def test_prun_toml_switches_a_policy_on_and_an_option_names_another(
    new_prun: Callable[[], Prun], layout: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    config = tmp_path / "prun.toml"
    policy, accept = write_policy(tmp_path / "p.json"), write_policy(tmp_path / "all.json", "insecureAcceptAnything")
    config.write_text(f'[signatures]\npolicy = "{policy}"\n')
    config.chmod(0o644)
    prun = new_prun()
    words = ("--config", str(config))
    source = f"oci:{layout[0]}"
    refused(prun, prun(*words, "load", "--tag", "x", source), "p.json: default[0] rejects it")
    refused(prun, prun(*words, "run", "--rm", source), "default[0] rejects it")
    refused(prun, prun(*words, "run", "--dry-run", source), "default[0] rejects it")
    refused(prun, prun(*words, "pull", "-q", "127.0.0.1:9/x"), "cannot be reached")
    assert good(prun(*words, "run", "--rm", "--signature-policy", accept, source)) == "hi\n"
    good(prun(*words, "load", "--tag", "x", "--signature-policy", accept, source))
    assert good(prun(*words, "run", "--rm", "x")) == "hi\n"  # what is here is here

    faults = (("policy = 1", "policy is 1"), ('policy = "p.json"', "absolute path"), ("polcy = 1", "no key 'polcy'"))
    for text, said in faults:
        config.write_text(f"[signatures]\n{text}\n")
        done = prun(*words, "images")
        assert done.returncode == 125
        assert said in done.stderr
    config.write_text(f'[signatures]\npolicy = "{tmp_path}/none.json"\n')
    done = prun(*words, "load", "--tag", "x", source)
    assert done.returncode == 125
    assert f"signature policy {tmp_path}/none.json does not exist" in done.stderr
    done = prun("run", "--signature-policy", "/none.json", "x")
    assert "--signature-policy '/none.json' is no file" in done.stderr


def test_an_archive_comes_in_by_the_signatures_that_are_in_it(
    prun: Prun, layout: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    path, name = tmp_path / "l", "docker.io/library/app"
    target = put_image(path, [busybox_layer()], {"Cmd": ["echo", "hi"], "Env": ["PATH=/bin"]})
    key = write_key(tmp_path / "key.pub")
    checked = {"": [rule(key, "matchRepository")]}
    policy = write_policy(
        tmp_path / "policy.json", **{"oci": checked, "oci-archive": checked, "docker-archive": checked}
    )

    def load(*entries: tuple[dict[str, Any], str], tag: str = "") -> subprocess.CompletedProcess[str]:
        put_index(
            path, [{**each, "annotations": {REF: called.rpartition(":")[2], FULL: called}} for each, called in entries]
        )
        return prun(
            "load",
            "-q",
            "--signature-policy",
            policy,
            *(("--tag", tag) if tag else ()),
            f"oci:{path}{'' if not tag else ':1'}",
        )

    image = (target, f"{name}:1")
    refused(prun, load(image), "there is no signature of it", f"image {name}:1 of oci:{path}")
    for wrong, said in (
        (put_signatures(path, OTHER, target["digest"], name), "is not of this key"),
        (put_signatures(path, ECDSA, target["digest"], "other"), "is for docker.io/library/other"),
        (put_signatures(path, ECDSA, descriptor("", b"x")["digest"], name), "is of another image"),
    ):
        refused(prun, load(image, (wrong, f"{name}:{tag_of(target['digest'])}")), said)
    signature = (put_signatures(path, ECDSA, target["digest"], name), f"{name}:{tag_of(target['digest'])}")
    refused(prun, load(image, signature, tag="other"), "is for docker.io/library/app, not for docker.io/library/other")
    assert good(load(image, signature)) == f"{name}:1\n{signature[1]}\n"
    assert good(prun("run", "--rm", "app:1")) == "hi\n"
    good(prun("save", "-o", str(tmp_path / "x.tar"), "app:1", signature[1]))
    good(prun("save", "-o", str(tmp_path / "d.tar"), "--format", "docker-archive", "app:1"))
    good(prun("rmi", "--all"))
    refused(prun, prun("load", "--signature-policy", policy, "-i", str(tmp_path / "d.tar")), "there is no signature")
    with (tmp_path / "x.tar").open("rb") as archive:
        good(prun("load", "-q", "--signature-policy", policy, stdin=archive.read()))
    assert good(prun("run", "--rm", "app:1")) == "hi\n"


def test_a_path_is_a_scope(prun: Prun, tmp_path: Path) -> None:
    oci_layout(tmp_path / "ours" / "l", [busybox_layer()], {"Cmd": ["true"]}, tag="1")
    (tmp_path / "theirs").symlink_to(tmp_path / "ours")
    accept = [{"type": "insecureAcceptAnything"}]
    policy = write_policy(tmp_path / "policy.json", oci={f"{tmp_path}/ours": accept})
    for directory in ("ours", "theirs"):
        good(prun("load", "-q", "--tag", "x", "--signature-policy", policy, f"oci:{tmp_path}/{directory}/l"))
    (tmp_path / "ours").rename(tmp_path / "elsewhere")
    good(prun("rmi", "x"))
    refused(prun, prun("load", "--signature-policy", policy, f"oci:{tmp_path}/elsewhere/l"), "default[0] rejects it")


def test_repair_fetches_what_was_let_in_before(
    prun: Prun, registry: DebianRegistry, layout: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    name = f"{registry.netloc}/team/repaired:1"
    push(prun, tmp_path, layout[1], layout[0], name)
    good(prun("pull", "-q", name))
    config = tmp_path / "prun.toml"
    config.write_text(f'[signatures]\npolicy = "{write_policy(tmp_path / "p.json")}"\n')
    config.chmod(0o644)
    Path(prun.root, "content/blobs/sha256", layout[1]["digest"][7:]).unlink()
    assert "fetched again from" in good(prun("--config", str(config), "system", "check", "--repair"))


def test_a_policy_is_checked_without_the_documents_of_others(prun: Prun, tmp_path: Path) -> None:
    """A layout with a policy, and nothing in it."""
    put_index(tmp_path / "l", [])
    policy = write_policy(tmp_path / "p.json")
    done = prun("load", "--signature-policy", policy, f"oci:{tmp_path}/l")
    assert done.returncode == 125
    assert "holds no image" in done.stderr
    Path(policy).write_bytes(document({"default": []}))
    refused(prun, prun("load", "--signature-policy", policy, f"oci:{tmp_path}/l"), "default is empty")
