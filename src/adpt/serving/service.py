"""A request for an inspection on its way through the server, and what that knows of itself."""

import asyncio
import base64
import hmac
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from fastapi import HTTPException, Request, Response
from fastapi.responses import JSONResponse

from adpt.data.files import name_key
from adpt.inspection import Inspector, RegionRule
from adpt.inspection.outputs import Format
from adpt.running.names import printable
from adpt.serving.answer import Answer, inspect
from adpt.serving.metrics import Metrics
from adpt.serving.upload import Limits, check_head, picture_file, receive

_MEDIA: dict[Format, str] = {"jpg": "image/jpeg", "png": "image/png"}


class Service:
    """Inspects pictures one after the other, in one thread, in the order in which they arrived.

    Args:
        products: Inspectors by product.
        limits: How much is taken in.
        token: What clients have to know; None for nothing.
        rule: What a defect region is.
        heatmap_size: Longest side of heatmaps, in pixels; None for the picture's own.

    Attributes:
        inside: Pictures that are arriving, waiting or in work.
        metrics: What was done until now.
    """

    def __init__(
        self,
        products: Mapping[str, Inspector],
        limits: Limits | None = None,
        token: str | None = None,
        rule: RegionRule | None = None,
        heatmap_size: int | None = 1280,
    ) -> None:
        self.products, self.limits, self.rule = products, limits or Limits(), rule or RegionRule()
        self.heatmap_size = heatmap_size
        self.inside, self.metrics = 0, Metrics()
        self._token = None if token is None else token.encode()
        self._worker = ThreadPoolExecutor(1, "inspecting")

    @property
    def needs_token(self) -> bool:
        """True if clients have to know a token."""
        return self._token is not None

    def close(self) -> None:
        """Let the thread go; what waits for it is given up."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    def authorize(self, request: Request) -> None:
        """Refuse who does not know the token.

        Raises:
            HTTPException: 401.
        """
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if self._token is None:
            return
        known = hmac.compare_digest(given.strip().encode("latin-1", "replace"), self._token)
        if kind.lower() != "bearer" or not known:
            raise HTTPException(
                401,
                "This server takes requests with its token alone: Authorization: Bearer <token>.",
                {"WWW-Authenticate": "Bearer"},
            )

    async def respond(
        self, request: Request, product: str | None, name: str, heatmap: Format | None
    ) -> Response:
        """Inspect the picture that is a request's body.

        Args:
            request: Whose body it is.
            product: Which inspector; None where there is but one.
            name: What the client calls it.
            heatmap: Format of the heatmap within the JSON; None for none. A client that accepts a
                picture instead of JSON gets the heatmap itself.

        Raises:
            HTTPException: The request is refused.
        """
        self.authorize(request)
        product = self._chosen(product)
        check_head(request, self.limits)
        if self.inside >= self.limits.queue:
            raise HTTPException(
                503,
                f"{self.inside} pictures are waiting already. Try again in a moment.",
                {"Retry-After": "1"},
            )
        accepted = request.headers.get("accept", "").partition(",")[0].strip().lower()
        alone = next((kind for kind, media in _MEDIA.items() if media == accepted), None)
        self.inside += 1
        try:
            with picture_file() as (file, path):
                await receive(request, file, self.limits)
                work = partial(
                    inspect,
                    self.products[product],
                    path,
                    printable(name),
                    rule=self.rule,
                    product=product if len(self.products) > 1 else "",
                    heatmap=alone or heatmap,
                    longest_side=self.heatmap_size,
                )
                answer = await asyncio.get_running_loop().run_in_executor(self._worker, work)
        finally:
            self.inside -= 1
        self.metrics.pictures[product, answer.verdict] += 1
        request.state.told = f"{product} {answer.verdict} {answer.row.score} {answer.row.path}"
        return _response(answer, alone, heatmap)

    def _chosen(self, product: str | None) -> str:
        names = ", ".join(self.products)
        if product is None and len(self.products) == 1:
            return next(iter(self.products))
        if product is None:
            raise HTTPException(400, f"Say which product: POST /inspect/<product>, of {names}.")
        if (key := name_key(product)) not in self.products:
            raise HTTPException(404, f"There is no product {key!r} here: {names}.")
        return key


def _response(answer: Answer, alone: Format | None, heatmap: Format | None) -> Response:
    row, status = answer.row, 422 if answer.row.error else 200
    if alone is not None and answer.heatmap:
        headers = {"X-Adpt-Verdict": answer.verdict, "X-Adpt-Score": str(row.score)}
        return Response(answer.heatmap, media_type=_MEDIA[alone], headers=headers)
    if heatmap is not None and answer.heatmap:
        data = base64.b64encode(answer.heatmap).decode()
        row = replace(row, heatmap=f"data:{_MEDIA[heatmap]};base64,{data}")
    return JSONResponse(row.as_dict(), status)
