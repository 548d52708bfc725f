"""A server in this process, and requests to it."""

import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import adpt
from adpt.serving.server import Server, listen
from adpt.serving.service import Service


class Client:
    """Requests to a server in this process."""

    def __init__(self, service: Service, port: int) -> None:
        self.service, self.port = service, port

    def __call__(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, content (of JSON what it says), and headers of an answer."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            content: Any = answer.read()
            if content and answer.headers.get_content_type() == "application/json":
                content = json.loads(content)
            return answer.status, content, dict(answer.headers)

    def inspect(self, body: Any, path: str = "/inspect", **headers: str) -> tuple[int, Any]:
        return self("POST", path, body, Content_Type="image/png", **headers)[:2]


@contextmanager
def served(service: Service) -> Iterator[Client]:
    listening = listen("127.0.0.1", 0, None)
    server = Server(service)
    thread = threading.Thread(target=server.serve_all, args=(listening,))
    thread.start()
    try:
        yield Client(service, listening.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


def small_inspector(photos: Path) -> adpt.Inspector:
    """Fitted on the good ones of a drawn product's pictures."""
    backbone = {"name": "efficientnet_lite0", "levels": [2, 3]}
    return adpt.Inspector.fit(
        photos / "train" / "good", backbone=backbone, image_size=48, device="cpu"
    )
