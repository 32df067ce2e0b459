"""The source files of code: where it is defined, and what of the user's it imports."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from pytest_pan.engine.source_files import digests_of_sources

FILES = {
    "shop_of_sources/__init__.py": "",
    "shop_of_sources/model.py": "from . import layers\nimport json\nclass Net: ...\n",
    "shop_of_sources/layers.py": "def deep():\n    from shop_of_sources.numbers import K\n",
    "shop_of_sources/numbers.py": "K = 1\n",
    "shop_of_sources/apart.py": "K = 1\n",
}


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("model", "numbers", "apart"):
        import_module(f"shop_of_sources.{name}")
    yield tmp_path / "shop_of_sources"
    for name in [name for name in sys.modules if name.startswith("shop_of_sources")]:
        del sys.modules[name]


def test_an_edit_of_what_is_imported_counts_and_one_beside_it_does_not(shop: Path) -> None:
    code = [import_module("shop_of_sources.model").Net()]
    before = digests_of_sources(code)
    (shop / "apart.py").write_text("K = 22\n")
    assert digests_of_sources(code) == before
    (shop / "numbers.py").write_text("K = 22\n")
    assert digests_of_sources(code) != before
