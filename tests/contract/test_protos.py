"""The services are documented, and the generated code is theirs."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

ROOT = Path(__file__).parents[2]
PROTOS = ROOT / "protos"
SOURCES = sorted(path.stem for path in PROTOS.glob("prun/v1/*.proto"))
CONTAINERD = "containerd.v1.api"
ALL = [*(f"prun.v1.{name}" for name in SOURCES), CONTAINERD]
SERVICES = {
    "Execution": "Create Start Delete Get List Kill Pause Resume Exec ResizePty CloseIO Wait Pids Metrics",
    "RootFS": "Unpack Prepare Mounts Remove",
    "Content": "Info Read Write Status Delete List",
    "Images": "Get List Put Delete Pull",
    "Events": "Subscribe Publish",
    "Introspection": "Version Runtimes Plugins",
}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FileDescriptorProto]:
    """What protoc makes of the sources today, comments included, by the name of the file."""
    out = tmp_path_factory.mktemp("protos") / "set"
    sources = [f"{name.replace('.', '/')}.proto" for name in ALL]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--descriptor_set_out={out}", *sources]
    subprocess.run([*command, "--include_source_info"], cwd=PROTOS, check=True)
    return {Path(file.name).stem: file for file in FileDescriptorSet.FromString(out.read_bytes()).file}


def plain(file: FileDescriptorProto) -> FileDescriptorProto:
    """Leave out what protoc does not embed into generated Python code."""
    result = FileDescriptorProto()
    result.CopyFrom(file)
    result.ClearField("source_code_info")
    messages = list(result.message_type)
    while messages:
        message = messages.pop()
        messages += message.nested_type
        for field in message.field:
            field.ClearField("json_name")
    return result


@pytest.mark.parametrize("name", ALL)
def test_the_generated_messages_are_those_of_the_source(compiled: dict[str, FileDescriptorProto], name: str) -> None:
    module = importlib.import_module(f"prun_protos.{name}_pb2")
    generated = FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(generated)
    assert plain(generated) == plain(compiled[name.rpartition(".")[2]]), "stale: run make protos"


@pytest.mark.parametrize("name", SOURCES)
def test_the_generated_services_are_those_of_the_source(compiled: dict[str, FileDescriptorProto], name: str) -> None:
    module = importlib.import_module(f"prun_protos.prun.v1.{name}_pb2_grpc")
    text = Path(str(module.__file__)).read_text(encoding="utf-8")
    for service in compiled[name].service:
        for method in service.method:
            assert f"'/prun.v1.{service.name}/{method.name}'" in text, "stale: run make protos"
            assert callable(getattr(getattr(module, f"{service.name}Servicer"), method.name))


@pytest.mark.packaging
def test_generating_again_changes_nothing(tmp_path: Path) -> None:
    target = tmp_path / "prun_protos"
    subprocess.run([sys.executable, str(ROOT / "scripts" / "generate_protos.py"), str(target)], check=True)
    fresh = {str(path.relative_to(target)): path.read_text() for path in target.rglob("*.py*")}
    assert fresh.keys() >= {f"prun/v1/{name}_pb2.py" for name in SOURCES}
    for path, text in fresh.items():
        assert (PROTOS / "prun_protos" / path).read_text() == text, f"{path} is stale: run make protos"
    package = PROTOS / "prun_protos"
    ours = {str(path.relative_to(package)) for path in package.rglob("*.py*") if path.parent != package}
    assert {path for path in ours if "__pycache__" not in path} <= fresh.keys()


def test_the_services_are_the_agreed_ones(compiled: dict[str, FileDescriptorProto]) -> None:
    found = {s.name: " ".join(m.name for m in s.method) for file in compiled.values() for s in file.service}
    assert found == SERVICES


@pytest.mark.parametrize("name", [*SOURCES, "api"])
def test_everything_is_documented(compiled: dict[str, FileDescriptorProto], name: str) -> None:
    # A location's path alternates field numbers of the descriptor and indexes: an even length names a definition.
    # The last number tells what: 4 message, 5 enum, 6 service of a file; 2 field, 3 message, 4 enum of a message;
    # 2 value of an enum, 2 method of a service (descriptor.proto).
    undocumented = [
        list(location.path)
        for location in compiled[name].source_code_info.location
        if len(location.path) >= 2
        and len(location.path) % 2 == 0
        and location.path[0] in (4, 5, 6)
        and location.path[-2] in ((4, 5, 6) if len(location.path) == 2 else (2, 3, 4))
        and not location.leading_comments.strip()
    ]
    assert undocumented == []


def test_the_generated_package_does_not_shadow_ours() -> None:
    code = "import prun_protos.prun.v1.execution_pb2, prun; print(prun.__file__)"
    out = subprocess.check_output([sys.executable, "-W", "error", "-c", code], text=True)
    assert Path(out.strip()) == ROOT / "core" / "prun" / "__init__.py"
