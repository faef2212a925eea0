"""Generate protos/prun_protos from protos/*/v1/*.proto, with the oldest generator whose code we support.

Generated code runs with the protobuf and grpcio that it was generated for, and newer ones: the versions here are the
lower bounds of ``dependencies`` in pyproject.toml.  The generator gets a virtual environment of its own, since it does
not go with the newer protobuf that everything else here may use.

    python scripts/generate_protos.py [DIRECTORY]       (protos/prun_protos unless another is given)
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

GENERATOR = "grpcio-tools==1.66.2"
DOCSTRING = '"""Code generated from protos/ by `make protos`."""'
PROTOS = Path(__file__).resolve().parents[1] / "protos"
# containerd's have no services: their methods are called by path, and need no stubs.
SOURCES = {"prun": ("python", "pyi", "grpc_python"), "containerd": ("python", "pyi")}


def generate(target: Path) -> None:
    """Write the package of generated modules to ``target``."""
    with tempfile.TemporaryDirectory(prefix="prun-protos-") as directory:
        sys.stderr.write(f"==> generating {target} with {GENERATOR}\n")
        venv.create(directory, with_pip=True)
        python = str(Path(directory, "Scripts" if sys.platform == "win32" else "bin", "python"))
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, GENERATOR], check=True)
        target.mkdir(exist_ok=True)
        for name, kinds in SOURCES.items():
            shutil.rmtree(target / name, ignore_errors=True)
            outputs = [f"--{kind}_out={target.absolute()}" for kind in kinds]
            sources = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.glob(f"{name}/v1/*.proto"))
            subprocess.run([python, "-m", "grpc_tools.protoc", "-I.", *outputs, *sources], check=True, cwd=PROTOS)
            for package in (target / name, target / name / "v1"):
                (package / "__init__.py").write_text(f"{DOCSTRING}\n", encoding="utf-8")
    # protoc imports modules by the path of their .proto: prun/v1 would be a part of our own package prun.
    for path in target.glob("prun/v1/*_pb2*"):
        text = path.read_text(encoding="utf-8")
        path.write_text(re.sub(r"^from prun\.v1 import", f"from {target.name}.prun.v1 import", text, flags=re.M))


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if sys.argv[1:] else PROTOS / "prun_protos")
