"""Make the projector that is installed with adpt, from the drawn products that `encode.py` encoded.

    SHARED=<folder of data/ and weights/> python experiments/unseen_products/builtin.py CACHE

It is the one that results.csv has as `shipped` of sources `drawn`, in half precision. `card.py`
writes its model card.
"""

import json
import sys
from pathlib import Path

from recipes import projector_of
from run import NETWORKS, SETTLED, drawn_views

from adpt import weights
from adpt.backbones import build_backbone
from adpt.weights import save_projector


def main() -> None:
    """Write the file into the package."""
    cache, network = Path(sys.argv[1]), NETWORKS[0]
    backbone = build_backbone(network)
    projector = projector_of(cache, network, drawn_views(cache, network), SETTLED["padim"])
    told = {
        "backbone": network,
        "backbone_sha256": backbone.fingerprint,
        "levels": json.dumps(backbone.indices),
        "made_of": "drawn products alone, by experiments/unseen_products in adpt's repository",
    }
    file = Path(weights.__file__).with_name("builtin.safetensors")
    save_projector(projector.half(), file, told)
    print(file, file.stat().st_size)


if __name__ == "__main__":
    main()
