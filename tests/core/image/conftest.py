"""A store, and an image in a layout."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from archives import ONE, TWO
from images import oci_layout

from prun.image.layout import ContentStore

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(str(tmp_path / "store"))


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    oci_layout(tmp_path / "layout", [ONE, TWO], {"Cmd": ["sh"]}, tag="docker.io/library/x:1")
    return tmp_path / "layout"
