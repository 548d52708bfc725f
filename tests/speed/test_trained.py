"""The benchmark of trained methods' epochs runs and finds no pass through the backbone."""

import pytest
from parts import trained


def test_epochs_read_features_and_encode_only_what_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trained, "SQUARE", 256)
    found = list(trained.rows(images=12, side=64, model="vit_tiny_patch16_224"))
    operations = [row for row in found if row.unit == "GFLOP"]
    assert len(operations) == 2
    assert all(row.ours > 0 for row in operations)
    times, encoded = ([row for row in found if row.unit == unit] for unit in ("s", "images"))
    assert [row.part for row in times] == ["CFlow epoch", "UniAD epoch", "Glass epoch"]
    # The last is mostly what its defects take, which is no product.
    assert [row.other is not None for row in times] == [True, True, False]
    for row, each in zip(times, operations, strict=False):
        assert row.ratio == row.other / row.ours
        # Slower than 10 TFLOP/s, in whatever unit.
        assert row.other > 12 * each.ours / 1e4
    assert [row.ours for row in encoded][:2] == [0, 0]
    assert encoded[2].ours in (1, 2)
    assert all(row.met for row in encoded)
