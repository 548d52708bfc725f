"""Inspect pictures over HTTP: `python -m adpt.serve inspector=bottle.adpt.safetensors`.

SIGTERM and Ctrl-C stop it once the pictures taken in are answered; the exit code is then 0. A
Ctrl-C after that stops it at once.
"""

import logging
from functools import partial
from importlib.util import find_spec

from omegaconf import DictConfig

from adpt.cli.entry import command, entry
from adpt.errors import UserError
from adpt.running.interruption import Stopped

log = logging.getLogger(__name__)


@entry
def serve(config: DictConfig) -> None:
    """Load inspectors and answer requests until a signal comes."""
    if missing := [name for name in ("fastapi", "uvicorn") if find_spec(name) is None]:
        raise UserError(f"A server needs {', '.join(missing)}: pip install 'adpt[serve]'.")
    from adpt.inspection import Inspector, RegionRule
    from adpt.inspection.command import trusted
    from adpt.inspection.products import inspectors_of
    from adpt.running.devices import choose_device
    from adpt.running.paths import expanded
    from adpt.serving.server import Server, listen
    from adpt.serving.service import Service
    from adpt.serving.upload import Limits

    load = partial(
        Inspector.load,
        device=str(choose_device(config.device)),
        backbone_weights=config.backbone_weights,
        max_megapixels=config.max_megapixels,
        trusted=trusted(config),
    )
    products = inspectors_of(expanded(config.inspector), load)
    for name, inspector in products.items():
        log.info("%s: anomalous above %.6g", name, inspector.threshold)
    limits = Limits(config.queue, config.max_megabytes, config.timeout)
    rule = RegionRule(**config.regions, mm_per_pixel=config.mm_per_pixel)
    service = Service(products, limits, config.token, rule, config.heatmap_size)
    server = Server(service)
    try:
        server.serve_all(listen(config.host, config.port, config.token))
    except Stopped as stopped:
        if server.force_exit:
            raise
        log.info("%s All pictures taken in are answered.", stopped)


@command("serve")
def main(config: DictConfig) -> None:
    """Inspect pictures over HTTP."""
    serve(config)


if __name__ == "__main__":
    main()
