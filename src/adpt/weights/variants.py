"""The authors' two choices of a projector's epoch, found beside each other."""

import re
from pathlib import Path

from adpt.errors import WeightsError
from adpt.weights.hub import VARIANTS, is_hub_name

_NAMED = re.compile(rf"(?<![a-z])({'|'.join(VARIANTS)})(?![a-z])")


def variant_of(name: str, variant: str) -> str:
    """The variant of a projector that is wanted.

    Args:
        name: A name on the hub such as `hub:adpretrain/clip_l`; a file whose name has `angle` or
            `norm`, such as `checkpoints_pro_angle.pth`; or a folder that holds one of each. Of any
            other file there is one for all.
        variant: `angle` or `norm`.

    Raises:
        WeightsError: A folder or a file beside the one given lacks it.
    """
    if is_hub_name(name):
        found = re.fullmatch(r"(hub:adpretrain/[^/@]+)(?:/[^@]+)?(@.+)?", name)
        return f"{found[1]}/{variant}{found[2] or ''}" if found else name
    path = Path(name).expanduser()
    if path.is_dir():
        held = sorted(p for p in path.iterdir() if _NAMED.findall(p.stem) == [variant])
        weights = [p for p in held if p.suffix in (".pth", ".safetensors")]
        # The authors save three files a variant, and evaluate with that of the best AUPRO.
        chosen = next((p for p in weights if "pro" in p.stem), None) or next(iter(weights), None)
        if chosen is None:
            raise WeightsError(
                f"{path} holds no projector of the variant '{variant}', such as"
                f" checkpoints_pro_{variant}.pth."
            )
        return str(chosen)
    other = path.with_name(_NAMED.sub(variant, path.name))
    if other != path and not other.is_file():
        raise WeightsError(
            f"protocol=paper needs the variant '{variant}' of {path.name}, but there is no {other}."
        )
    return str(other)
