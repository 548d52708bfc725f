"""The benchmark of residual features runs, and both sides agree."""

from parts import residual


def test_both_sides_agree_and_memory_is_within_its_formula() -> None:
    found = list(residual.rows(sizes=[(6, 5)]))
    assert [row.part for row in found] == ["residual features", "the same, memory"]
    assert found[1].met
