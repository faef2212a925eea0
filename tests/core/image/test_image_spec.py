"""The image-spec's own examples, its tests' tables and its JSON schemas (Debian's package): what we read and write.

The tables are read as facts out of ``schema/*_test.go``; where prun is stricter or more lenient is listed, and why.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jsonschema
import pytest
from images import file, layer_tar, oci_layout
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4

from prun.cli import command
from prun.errors import PrunError
from prun.image.archive import loading
from prun.image.config import parse_config
from prun.image.digest import digest_of
from prun.image.fields import load_object
from prun.image.layout import ContentStore
from prun.image.manifest import parse_descriptor, parse_index, parse_manifest
from prun.image.media_type import DOCKER_MANIFEST, INDEXES, OCI_INDEX, OCI_MANIFEST
from prun.image.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable

SPEC = Path("/usr/share/gocode/src/github.com/opencontainers/image-spec")
_ENTRY = re.compile(
    r"\n\t\t(?:// ([^\n]*)\n(?:\t\t//[^\n]*\n)*)?\t\t\{\n\t\t\t\w+: `(.*?)`,\n(?:\t\t\tfail: +(true|false),\n)?\t\t\}",
    re.S,
)
_OLD = re.compile(r'digest: "([^"]*)",\n\t\t\t(imageIndex|manifest|config): +`(.*?)`,\n\t\t\tfail: +false', re.S)
_EXAMPLE = re.compile(r"^```json,title=[^&\n]*&mediatype=([^\n]*)\n(.*?)^```", re.S | re.M)

# Valid by the schema, and refused: nobody could check such a digest.
STRICTER = {"expected pass: test bounds of algorithm field in digest."}
# Invalid by the schema, and taken.
LENIENT = {
    # The final 1.1 says SHOULD; an image without layers is docker's "scratch".
    "expected failure: empty layer, expected at least one",
    # Such an entry is as good as none, and is never completed (config.parse_config).
    "expected failure: Env is invalid",
    # An entry whose platform is not said is for the one that its config names.
    "expected failure: in the optional field platform platform.architecture is missing, expected required",
    # They are never asked: what they are does not matter.
    "expected failure: urls does not match format (invalide url characters)",
}


class Case(NamedTuple):
    kind: str
    title: str
    document: bytes
    valid: bool


def _config(data: bytes) -> None:
    document = load_object(data, "config")
    rootfs = document.get("rootfs")
    parse_config(data, len(rootfs["diff_ids"]) if isinstance(rootfs, dict) else 0)


def _layout(data: bytes) -> None:
    assert load_object(data, "oci-layout")["imageLayoutVersion"] == "1.0.0"


def _media_type(data: bytes, old: str, new: str) -> str:
    return old if old.encode() in data else new


READERS: dict[str, Callable[[bytes], object]] = {
    "config": _config,
    "descriptor": lambda data: parse_descriptor(load_object(data, "descriptor"), "descriptor"),
    "imageindex": lambda data: parse_index(data, _media_type(data, next(iter(INDEXES - {OCI_INDEX})), OCI_INDEX)),
    "imagelayout": _layout,
    "manifest": lambda data: parse_manifest(data, _media_type(data, DOCKER_MANIFEST, OCI_MANIFEST)),
}
KINDS = {
    "application/vnd.oci.descriptor.v1+json": "descriptor",
    "application/vnd.oci.image.config.v1+json": "config",
    "application/vnd.oci.image.index.v1+json": "imageindex",
    "application/vnd.oci.image.manifest.v1+json": "manifest",
    "application/vnd.oci.layout.header.v1+json": "imagelayout",
}
SCHEMAS = {
    "config": "config-schema.json",
    "descriptor": "content-descriptor.json",
    "imageindex": "image-index-schema.json",
    "imagelayout": "image-layout-schema.json",
    "manifest": "image-manifest-schema.json",
}


def tables() -> list[Case]:
    found = []
    for kind in READERS:
        text = (SPEC / "schema" / f"{kind}_test.go").read_text(encoding="utf-8")
        found += [Case(kind, title, doc.encode(), fail != "true") for title, doc, fail in _ENTRY.findall(text)]
    return found


def examples() -> list[Case]:
    found = []
    for path in sorted(SPEC.glob("*.md")):
        for media_type, text in _EXAMPLE.findall(path.read_text(encoding="utf-8")):
            kind = KINDS[media_type.replace("%2B", "+")]
            found.append(Case(kind, f"{path.stem} {len(found)}", text.encode(), True))
    return found


def validator(kind: str) -> jsonschema.Draft4Validator:
    def load(uri: str) -> Resource[Any]:
        document = json.loads((SPEC / "schema" / uri.rpartition("/")[2]).read_text(encoding="utf-8"))
        return Resource.from_contents(document, default_specification=DRAFT4)

    root = json.loads((SPEC / "schema" / SCHEMAS[kind]).read_text(encoding="utf-8"))
    return jsonschema.Draft4Validator(root, registry=Registry(retrieve=load))


def test_the_package_has_what_it_had() -> None:
    assert len(tables()) == 46
    assert len(examples()) == 9
    assert not (STRICTER | LENIENT) - {each.title for each in tables()}


@pytest.mark.parametrize("case", [*tables(), *examples()], ids=lambda case: f"{case.kind}: {case.title}"[:90])
def test_what_is_valid_is_taken_and_what_is_not_is_refused(case: Case) -> None:
    taken = True
    try:
        READERS[case.kind](case.document)
    except PrunError:
        taken = False
    if case.title in STRICTER | LENIENT:
        assert taken == (case.title in LENIENT)
        assert case.valid == (case.title in STRICTER)
    else:
        assert taken == case.valid


def test_dockers_documents_of_old_are_taken_as_they_are() -> None:
    text = (SPEC / "schema" / "backwards_compatibility_test.go").read_text(encoding="utf-8")
    found = _OLD.findall(text)
    assert len(found) == 4
    for digest, kind, document in found:
        assert digest_of(document.encode()) == digest
        READERS[kind.lower()](document.encode())


def written(root: Path) -> dict[str, list[bytes]]:
    """What stands in a layout, by kind."""
    found: dict[str, list[bytes]] = {"imagelayout": [(root / "oci-layout").read_bytes()], "config": [], "manifest": []}
    found["imageindex"] = [(root / "index.json").read_bytes()]
    for path in (root / "blobs/sha256").iterdir():
        data = path.read_bytes()
        if data.startswith(b"{"):
            document = json.loads(data)
            kind = "manifest" if "layers" in document else "imageindex" if "manifests" in document else "config"
            found[kind].append(data)
    return found


def test_what_we_write_is_valid_by_the_schemas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's own layout, an import, a docker archive that became a manifest, what is saved of all of them."""
    root = tmp_path / "root"
    words = ["--root", str(root), "--state", str(tmp_path / "state")]

    def run(*more: str) -> None:
        assert command([*words, *more]) == 0

    (tmp_path / "fs.tar").write_bytes(layer_tar([file("x", b"x")]))
    changes = ["CMD true", "ENV A=b", "EXPOSE 80", "LABEL k=v", "USER 7", "VOLUME /v", "WORKDIR /w", "STOPSIGNAL 15"]
    run(
        "import", *(word for each in changes for word in ("-c", each)), "-m", "made", str(tmp_path / "fs.tar"), "made:1"
    )
    oci_layout(tmp_path / "layout", [layer_tar([file("y", b"y")])], {"Cmd": ["true"]})
    run("load", "--tag", "loaded", f"oci:{tmp_path / 'layout'}")
    run("save", "--format", "docker-archive", "-o", str(tmp_path / "docker.tar"), "made:1", "loaded")
    run("rmi", "loaded")
    run("load", "-i", str(tmp_path / "docker.tar"))
    run("save", "-o", str(tmp_path / "all.tar"), "made:1", "loaded")
    (tmp_path / "saved").mkdir()
    subprocess.run(["tar", "-C", tmp_path / "saved", "-xf", tmp_path / "all.tar"], check=True)
    count = 0
    for layout in (root / "content", tmp_path / "saved"):
        for kind, documents in written(layout).items():
            for document in documents:
                validator(kind).validate(json.loads(document))
                count += 1
    assert count >= 12
    with loading(Source("oci", str(tmp_path / "saved"), ""), ContentStore(str(tmp_path / "again"))) as loaded:
        assert len(loaded) == 2


def test_the_schemas_refuse_what_is_wrong() -> None:
    for case in tables():
        if not case.valid and case.kind == "manifest":
            with pytest.raises((jsonschema.ValidationError, ValueError)):
                validator(case.kind).validate(json.loads(case.document))
