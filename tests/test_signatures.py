"""Calls can be read: what takes many arguments takes them by name."""

import ast
from collections.abc import Iterator
from pathlib import Path

import adpt


def walls(source: str) -> Iterator[str]:
    """Functions of a source with more than six arguments, more than four of them by place."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            placed = [one.arg for one in (*node.args.posonlyargs, *node.args.args)]
            placed = placed[placed[:1] in (["self"], ["cls"]) :]
            if len(placed) > 4 and len(placed) + len(node.args.kwonlyargs) > 6:
                yield f"{node.name} (line {node.lineno}): {', '.join(placed)}"


def test_what_takes_many_arguments_takes_them_by_name() -> None:
    root = Path(adpt.__file__).parent
    found = [
        f"{path.relative_to(root)}: {wall}"
        for path in sorted(root.rglob("*.py"))
        for wall in walls(path.read_text())
    ]
    assert not found, "\n".join(found)


def test_a_wall_is_found() -> None:
    wall = "class A:\n    def f(self, a, b, c, d, e=1, *, g, h): ..."
    assert list(walls(wall)) == ["f (line 2): a, b, c, d, e"]
    assert not list(walls(wall.replace(", e=1, *", ", *, e=1")))
