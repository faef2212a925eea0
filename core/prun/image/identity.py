"""Chain IDs: the names of unpacked layers, each on top of those below it.

Spec: https://github.com/opencontainers/image-spec/blob/v1.1.1/config.md#layer-chainid
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prun.image.digest import digest_of

if TYPE_CHECKING:
    from collections.abc import Sequence


def chain_ids(diff_ids: Sequence[str]) -> list[str]:
    """Return the chain ID of each layer, the lowest first; the last one names the whole root file system."""
    chain: list[str] = []
    for diff_id in diff_ids:
        chain.append(digest_of(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return chain
