"""The code that features come out of is part of their key: what is imported on the way is named."""

import ast

import pytest

from adpt.running.sources import MAKES_FEATURES, PACKAGE

START = "evaluation.class_data"
"""Encodes a class: what every feature of a table comes through."""

COMPUTES_NONE = {
    # Words, hashes, files and bars; and who keeps or hands on the features that others computed.
    "errors", "version", "running",
    "results.blanks", "results.metric_names", "results.record", "results.words",
    "evaluation.class_data", "evaluation.feature_cache", "methods.feature_sets",
}  # fmt: skip
"""Rooms and modules on the way that no number of a feature comes out of."""

FILES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}


def defined(tree: ast.Module) -> set[str]:
    """The names that stand for something because of this module, not one that it imports."""
    names = {n.name for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef)}
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def imported(name: str) -> set[str]:
    """The modules of adpt that a module takes something from: not the package that offers it."""
    found: set[str] = set()
    for node in ast.walk(TREES[name]):
        if not isinstance(node, ast.ImportFrom) or not f"{node.module}.".startswith("adpt."):
            continue
        home = str(node.module).removeprefix("adpt").removeprefix(".")
        for one in (alias.name for alias in node.names):
            below = f"{home}.{one}".removeprefix(".")
            if below in FILES:
                found.add(below)
            elif home in FILES and FILES[home].name != "__init__.py":
                found.add(home)
            else:
                within = [n for n in FILES if f"{n}.".startswith(f"{home}.")]
                by = {n for n in within if one in defined(TREES[n])}
                assert by, f"{name} imports {one} from {home}, where nothing defines it"
                found |= by
    return found


def reached(start: str) -> dict[str, str | None]:
    """Every module that is imported on the way, and the first one found to import it."""
    seen: dict[str, str | None] = {}
    waiting: list[tuple[str, str | None]] = [(start, None)]
    while waiting:
        name, importer = waiting.pop()
        if name not in seen:
            seen[name] = importer
            waiting += [(one, name) for one in sorted(imported(name))]
    return seen


def lies_in(module: str, part: str) -> bool:
    return f"{module}.".startswith(part.removesuffix(".py").replace("/", ".") + ".")


def missing(parts: tuple[str, ...]) -> dict[str, str | None]:
    """Modules on the way that neither are among these parts nor are known to compute nothing."""
    return {
        module: importer
        for module, importer in reached(START).items()
        if not any(lies_in(module, part) for part in (*parts, *COMPUTES_NONE))
    }


def test_the_code_of_features_is_all_that_is_imported_on_the_way() -> None:
    assert missing(MAKES_FEATURES) == {}


@pytest.mark.parametrize("part", MAKES_FEATURES)
def test_a_part_that_lacked_would_be_missed(part: str) -> None:
    assert missing(tuple(one for one in MAKES_FEATURES if one != part))


def test_what_computes_nothing_is_on_the_way_and_named_once() -> None:
    modules = reached(START)
    for part in COMPUTES_NONE:
        assert any(lies_in(module, part) for module in modules), part
        assert part not in MAKES_FEATURES


def test_what_a_package_offers_is_sought_where_it_is_defined() -> None:
    assert "data.base" in imported("evaluation.features")
    assert "methods" not in reached(START)
