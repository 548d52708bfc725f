"""Write the model card of the projector that is installed with adpt, from results.csv.

python experiments/unseen_products/card.py
"""

from products import GROUP_OF
from table import averaged, difference, read, written

from adpt.running.whole_files import sha256
from adpt.weights import find_projector

NETWORK = "efficientnet_lite0"
METHODS = {"padim": "PaDiM", "feature_norm": "FeatureNorm"}
TEXT = """\
# The projector `builtin`

For residual features of `backbone={network}` with levels {levels} (widths {channels}) at 224 pixels; a linear map a level, {size} bytes in half precision, SHA-256 `{digest}`. Made by `experiments/unseen_products/builtin.py` in adpt's repository, this card by `card.py` beside it.

**Made of**: {made_of}. No photograph and nobody's data is in it; the backbone's ImageNet weights are a package of their own. Licence: Apache-2.0, as adpt.

**How**: residuals in units of the product's own references, coarse levels shorter (1, 1/2, 1/4), directions weighed by (N^(-1/2) A N^(-1/2))^(1/4), with N and A the second moments of the drawn products' normal and anomalous residuals. No descent, no choice of epochs.

**For** `method=padim` and `method=feature_norm`, where maps of defects are wanted:

```
python -m adpt.evaluate method=[padim,feature_norm] projector=builtin data=folder data.root=/data/parts
```

**Measured** on {products} real products of {groups} groups, one seed, image AUROC / pixel AP / AUPRO in percent, mean over groups; differences to residual features ± standard error (products better : worse, p of the sign test):

| method | own | residual | builtin | pixel AP | AUPRO |
|---|---|---|---|---|---|
{rows}

Without directions, levels scaled alone, {alone}.

**Not for** telling good parts from bad by one threshold: `adpt.predict` with PaDiM on own features of four levels gave better verdicts (`experiments/builtin_default`), most of all for parts that always lie in the same place. With PatchCore, CFLOW, UniAD and GLASS it was not measured; projectors made for them did not gain. Other levels and other backbones are refused.
"""  # noqa: E501


def card() -> str:
    """The card as Markdown."""
    projector, found, rows = find_projector("builtin"), read("results.csv", "0"), []
    alone = []
    for method, name in METHODS.items():
        made = found["shipped", NETWORK, method, "pretrained", "drawn"]
        own, residual, levels = (
            {product: found["settled", NETWORK, method, features, "all others"][product]
             for product in made}
            for features in ("own", "residual", "levels alone")
        )  # fmt: skip
        cells = [written(averaged(figures)) for figures in (own, residual, made)]
        cells += [difference(made, residual, metric) for metric in (1, 2)]
        added = " and ".join(difference(made, levels, metric) for metric in (1, 2))
        alone.append(f"{name} has {written(averaged(levels))}; drawn defects add {added}")
        rows.append(f"| {' | '.join((name, *cells))} |")
    told = {name: projector.metadata[name] for name in ("levels", "channels", "made_of")}
    return TEXT.format(
        network=NETWORK,
        size=f"{projector.path.stat().st_size:,}",
        digest=sha256(projector.path),
        products=len(made),
        groups=len({GROUP_OF[product] for product in made}),
        rows="\n".join(rows),
        alone=", ".join(alone),
        **told,
    )


def main() -> None:
    """Write it beside the projector."""
    find_projector("builtin").path.with_suffix(".md").write_text(card(), encoding="utf-8")


if __name__ == "__main__":
    main()
