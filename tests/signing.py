"""Keys, signatures as cosign makes them, and policies."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from artifacts import SIMPLE_SIGNING
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from images import CONFIG, MANIFEST, descriptor, document

if TYPE_CHECKING:
    from pathlib import Path

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
ECDSA, OTHER = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
ED25519 = ed25519.Ed25519PrivateKey.generate()


def pem(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def signature(key: PrivateKey, data: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), SHA256())
    return key.sign(data, ec.ECDSA(SHA256())) if isinstance(key, ec.EllipticCurvePrivateKey) else key.sign(data)


def payload(digest: str, reference: str, **changes: Any) -> bytes:
    critical = {
        "identity": {"docker-reference": reference},
        "image": {"docker-manifest-digest": digest},
        "type": "cosign container image signature",
    }
    return json.dumps({"critical": {**critical, **changes}, "optional": None}).encode()


def encoded(key: PrivateKey, data: bytes) -> str:
    return base64.b64encode(signature(key, data)).decode()


def layer_of(data: bytes, word: str, **changes: Any) -> dict[str, Any]:
    """The layer of a payload, with ``word`` for its signature."""
    annotations = {"dev.cosignproject.cosign/signature": word}
    return {**descriptor(SIMPLE_SIGNING, data), "annotations": annotations, **changes}


def manifest_of(*layers: dict[str, Any], **more: Any) -> tuple[bytes, bytes]:
    """A manifest of signatures, and its config."""
    config = document({"rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]}})
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(CONFIG, config), "layers": layers}
    return document({**manifest, **more}), config


def tag_of(digest: str) -> str:
    return digest.replace(":", "-") + ".sig"


def rule(key: Path | str, identity: str = "", **more: Any) -> dict[str, Any]:
    named = {"signedIdentity": {"type": identity}} if identity else {}
    return {"type": "sigstoreSigned", "keyPath": str(key), **named, **more}


def write_policy(path: Path, default: str = "reject", **transports: dict[str, Any]) -> str:
    path.write_bytes(document({"default": [{"type": default}], "transports": transports}))
    path.chmod(0o644)
    return str(path)


def write_key(path: Path, key: PrivateKey = ECDSA) -> Path:
    path.write_bytes(pem(key))
    path.chmod(0o644)
    return path
