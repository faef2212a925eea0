from __future__ import annotations

import hashlib

from prun.image.identity import chain_ids


def test_no_layers_have_no_chain():
    assert chain_ids([]) == []


def test_each_chain_id_hashes_the_one_below_and_its_own_diff_id():
    a, b, c = (f"sha256:{letter * 64}" for letter in "abc")
    second = "sha256:" + hashlib.sha256(f"{a} {b}".encode()).hexdigest()
    third = "sha256:" + hashlib.sha256(f"{second} {c}".encode()).hexdigest()
    assert chain_ids([a, b, c]) == [a, second, third]
