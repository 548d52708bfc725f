"""The benchmark of trained methods' epochs runs and finds no pass through the backbone."""

from parts import trained


def test_epochs_read_features_and_encode_only_what_is_due() -> None:
    found = list(trained.rows(images=12, side=64, model="vit_tiny_patch16_224"))
    assert [row.part for row in found] == ["CFlow epoch", "UniAD epoch", "Glass epoch"]
    assert [row.note for row in found][:2] == ["0 images encoded"] * 2
    assert found[2].note in ("1 images encoded", "2 images encoded")
