"""Signatures of images, as ``cosign download signature`` writes them, verified with openssl.

``DIRECTORY/sha256-HEX.json`` holds one signature a line: a JSON object with ``Payload`` (base64 of a document that
names the digest) and ``Base64Signature`` (of sha256 of that document, ECDSA or RSA).

Format: https://github.com/sigstore/cosign/blob/v2.4.1/specs/SIGNATURE_SPEC.md
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from typing import TYPE_CHECKING, Any

from prun.errors import FailedPrecondition
from prun_policy.subjects import digest_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prun.types import Image, RunRequest
    from prun_policy.rules import Rule

KIND = "cosign container image signature"
MAX_FILE_BYTES = 1 << 20
MAX_SIGNATURES = 32
TIMEOUT_S = 10


def why_not_signed(rule: Rule, request: RunRequest, image: Image) -> str:
    """Say why an image is not signed by the rule's key, empty where it is.

    What is signed is the manifest that runs, or the index that the request names by its digest.

    Raises:
        FailedPrecondition: there is no openssl, or it cannot use the key.
    """
    digests = list(dict.fromkeys(digest for digest in (image.digest, digest_of(request)) if digest))
    if not digests or request.rootfs:
        return "what has no digest cannot be signed"
    for digest in digests:
        for payload, signature in _signatures(rule.signatures, digest):
            if _names(payload, digest) and _verifies(rule.key, payload, signature):
                return ""
    return f"there is no good signature of {' or '.join(digests)} in {rule.signatures}"


def _signatures(directory: str, digest: str) -> Iterator[tuple[bytes, bytes]]:
    """Return pairs of payload and signature, good ones or not; whatever is malformed is no signature."""
    try:
        with open(os.path.join(directory, f"{digest.replace(':', '-')}.json"), "rb") as file:
            lines = file.read(MAX_FILE_BYTES).splitlines()
    except OSError:
        return
    for line in lines[:MAX_SIGNATURES]:
        try:
            document = json.loads(line)
            yield (
                base64.b64decode(document["Payload"], validate=True),
                base64.b64decode(document["Base64Signature"], validate=True),
            )
        except (ValueError, TypeError, KeyError, binascii.Error, RecursionError):
            continue


def _names(payload: bytes, digest: str) -> bool:
    try:
        critical: dict[str, Any] = json.loads(payload)["critical"]
        return bool(critical["type"] == KIND and critical["image"]["docker-manifest-digest"] == digest)
    except (ValueError, TypeError, KeyError, RecursionError):
        return False


def _verifies(key: str, payload: bytes, signature: bytes) -> bool:
    import subprocess
    import tempfile

    with tempfile.NamedTemporaryFile(prefix="prun-signature-") as file:
        file.write(signature)
        file.flush()
        words = ["openssl", "dgst", "-sha256", "-verify", key, "-signature", file.name]
        try:
            result = subprocess.run(words, input=payload, capture_output=True, check=False, timeout=TIMEOUT_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise FailedPrecondition(f"openssl cannot verify signatures: {error}", hint="install openssl") from error
    if result.returncode == 0:
        return True
    if b"erification" in result.stdout + result.stderr:  # Verification failure, verification failed
        return False
    said = " ".join(result.stderr.decode(errors="replace").split())[:300]
    raise FailedPrecondition(f"openssl cannot use the key {key}: {said}")
