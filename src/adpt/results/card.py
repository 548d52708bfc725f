"""A model card: what a published projector is, how to use it, and what was measured with it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from huggingface_hub import ModelCardData

from adpt.backbones import PRESETS
from adpt.errors import UserError
from adpt.results import LEGEND, Record, facts, markdown_tables

_TOLD = ("Protocol", "Setting", "References per class", "Seeds", "Seen in pretraining", "Versions")
"""Facts about results that a card tells; the others name places on their author's machine."""

_USE = """\
## Use

With adpt, from the command line:

```
python -m adpt.evaluate data=mvtec {option} projector=hub:{repo}
```

and from Python:

```python
from adpt.backbones import build_backbone
from adpt.residual import reference_scale, residual_features
from adpt.weights import load_projector

backbone = build_backbone("{backbone}")
projector = load_projector("hub:{repo}")

levels = backbone(images)  # (B, 3, 224, 224), uint8 or in [0, 1]
normal = [level.flatten(2).transpose(1, 2) for level in backbone(normal_images)]

residuals = residual_features(levels, [level.flatten(0, 1) for level in normal])
scale = reference_scale(normal) if projector.scale_by_references else None
features = projector(residuals, scale)
```
"""

_METHOD = """\
## Method

Yao et al., *ADPretrain: Advancing Industrial Anomaly Detection via Anomaly Representation
Pretraining*, NeurIPS 2025, [arXiv 2511.05245](https://arxiv.org/abs/2511.05245). The residual
between a patch's feature and its nearest normal reference passes through a projector{losses}.
"""

_LOSSES = ",\ntrained with two contrastive losses, one over angles, one over norms"


def records_of(records: Sequence[Record], sha256: str, fingerprint: str) -> list[Record]:
    """The results of one projector, and those on own and residual features beside them.

    Args:
        records: Any.
        sha256: Of the projector's file.
        fingerprint: Of the projector, which files with other notes beside it share.

    Raises:
        UserError: None is of this projector.
    """
    own = [
        record
        for record in records
        if record.projector_sha256 == sha256 or record.decides.get("projector") == fingerprint
    ]
    if not own:
        others = sorted({r.projector_sha256[:8] for r in records if r.projector_sha256})
        found = f"they are of projectors {', '.join(others)}" if others else "they are of none"
        raise UserError(
            f"None of these results is of the projector with SHA-256 {sha256[:8]}…; {found}."
            " Evaluate it first: python -m adpt.evaluate projector=<file>."
        )
    beside = set(map(_experiment, own))
    return [r for r in records if r in own or (not r.projector and _experiment(r) in beside)]


def model_card(
    repo: str,
    license_name: str,
    metadata: Mapping[str, str],
    digests: tuple[str, str],
    records: Sequence[Record],
    metrics: Sequence[str],
) -> str:
    """A model card as Markdown, with the header that the hub reads.

    Args:
        repo: Owner and repository that it will lie in.
        license_name: As the hub names licences, such as `apache-2.0` or `cc-by-nc-sa-4.0`.
        metadata: What the projector's file says of itself.
        digests: SHA-256 of the file that is published, and of the one that results name.
        records: Results with it, and those beside them; see `records_of`.
        metrics: Names of metrics that the tables show.
    """
    header = ModelCardData(
        license=license_name,
        library_name="adpt",
        pipeline_tag="image-feature-extraction",
        tags=["anomaly-detection", "industrial-inspection", "adpretrain"],
    ).to_yaml()
    backbone = metadata.get("backbone", records[0].backbone)
    option = (
        f"backbone={backbone}" if backbone in PRESETS else f"backbone=timm backbone.name={backbone}"
    )
    told, training = facts(records), _training(metadata)
    parts = [
        f"---\n{header}\n---\n",
        f"# {repo.split('/')[-1]}\n",
        f"A projector for anomaly detection on residual features of the backbone `{backbone}`,"
        " pretrained on labelled industrial images.\n",
        _USE.format(repo=repo, backbone=backbone, option=option),
        f"## Results\n\n{LEGEND}\n",
        markdown_tables(records, metrics),
        "\n".join(f"- {name}: {'; '.join(told[name])}" for name in _TOLD if name in told) + "\n",
        "## Training\n",
        "\n".join(f"- {name}: {text}" for name, text in training.items()) + "\n",
        f"SHA-256 of projector.safetensors: `{digests[0]}`. Results name `{digests[1]}`: the same"
        " weights, with the places of their author's machine in the file.\n",
        _METHOD.format(losses=_LOSSES if training.get("Losses") else ""),
        f"## Licence\n\n{license_name}\n",
    ]
    return "\n".join(parts)


def _experiment(record: Record) -> tuple[str, ...]:
    setting = json.dumps(record.setting, sort_keys=True)
    return record.dataset, record.method, record.backbone, record.protocol, setting


def _training(metadata: Mapping[str, str]) -> dict[str, str]:
    """The projector's training, as far as its file tells, without places of its machine."""
    config: dict[str, Any] = json.loads(metadata.get("config", "{}"))
    data: dict[str, Any] = config.get("data", {})
    before: list[dict[str, str]] = json.loads(metadata.get("started_from", "[]"))
    losses = {name: config.get("model", {}).get(name) for name in ("angle_loss", "norm_loss")}
    told = {
        "Started from": ", ".join(one["name"] for one in before),
        "Data": str(data.get("_target_", "")).split(".")[-1],
        "Classes": ", ".join(data.get("classes") or ["all of the set"]),
        "Epochs": metadata.get("epoch", ""),
        "Chosen": metadata.get("selection", ""),
        "Images a step": str(data.get("batch_size", "")),
        "Losses": ", ".join(n.replace("_", " ") for n, loss in losses.items() if loss is not None),
        "Levels": metadata.get("levels", ""),
        "Projector": f"{metadata.get('block', '')}, widths {metadata.get('channels', '')}",
    }
    return {name: text for name, text in told.items() if text}
