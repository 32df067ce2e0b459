"""docs/architecture.md names every module, and the only ones that import pytest."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest_pan

PACKAGE = Path(pytest_pan.__file__).parent
TEXT = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text()


def test_the_table_has_every_module() -> None:
    table = TEXT.split("```")[1]
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    named = set(re.findall(r"\w+", table))
    assert modules | packages <= named


def test_only_the_modules_that_are_named_there_import_pytest() -> None:
    (said,) = re.findall(r"and only (.*?)\s+import pytest:", TEXT, re.S)
    found = {p.relative_to(PACKAGE).as_posix() for p in PACKAGE.rglob("*.py") if _knows_pytest(p)}
    assert {f"{name}.py" for name in re.findall(r"`(\w+)`", said)} == found


def _knows_pytest(path: Path) -> bool:
    """Whether it imports pytest when it runs, at its top or later."""
    tree = ast.parse(path.read_text())
    typing = [n for n in ast.walk(tree) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.dump(n)]
    hidden = {id(inner) for block in typing for inner in ast.walk(block)}
    names = [name for node in ast.walk(tree) if id(node) not in hidden for name in _imported(node)]
    return any(name.partition(".")[0] in ("pytest", "_pytest") for name in names)


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
