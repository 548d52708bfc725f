"""An application on a socket: who may reach it, how long a client may take, how it ends."""

import ipaddress
import logging
import socket
from asyncio import Transport
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from adpt.errors import UserError
from adpt.serving.application import application
from adpt.serving.service import Service

log = logging.getLogger(__name__)

_PATIENCE = 10.0
"""Seconds that a client may take for a request's head, and between two requests."""
_CONNECTIONS = 256
"""Beyond these, idle ones make room; beyond twice as many, all at work, requests get 503."""
_FINISH = 60
"""Seconds that answers may take once the server was asked to stop."""


class Impatient(H11Protocol):
    """HTTP that closes a connection on which no whole head of a request arrives for a while.

    uvicorn's own limit ends with the first byte, so that a client of one byte a minute is never
    sent away. Where there are many connections, a new one takes the place of the one that has
    been idle for longest: those who hold them open keep nobody else out.
    """

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Start to look after it."""
        super().connection_made(transport)
        self._seen: Any = None
        self._since = self.loop.time()
        # uvicorn forgets those that close in the loop's next turn.
        alive = [one for one in self.connections if not one.transport.is_closing()]
        if len(alive) > _CONNECTIONS:
            idle = [one for one in alive if isinstance(one, Impatient) and one.idle]
            min(idle, key=lambda one: one._since, default=self).transport.close()
        self._look = self.loop.call_later(_PATIENCE, self._look_after)

    def connection_lost(self, exc: Exception | None) -> None:
        """Look after it no more."""
        self._look.cancel()
        super().connection_lost(exc)

    @property
    def idle(self) -> bool:
        """True if no request of it is being answered."""
        return self.cycle is None or bool(self.cycle.response_complete)

    def _look_after(self) -> None:
        if self.idle and self.cycle is self._seen:
            self.transport.close()
            return
        self._seen = self.cycle
        self._look = self.loop.call_later(_PATIENCE, self._look_after)


class Server(uvicorn.Server):
    """A server of a service on a socket.

    SIGTERM and Ctrl-C end `run` once all that was taken in is answered; they are raised again then,
    for those who had them before. A Ctrl-C after another signal ends it at once (`force_exit`).

    Args:
        service: What it offers.
    """

    def __init__(self, service: Service) -> None:
        super().__init__(
            uvicorn.Config(
                application(service),
                http=Impatient,
                ws="none",
                loop="asyncio",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=2 * _CONNECTIONS,
                timeout_graceful_shutdown=_FINISH,
            )
        )

    def serve_all(self, listening: socket.socket) -> None:
        """Serve at a socket from `listen` until a signal comes."""
        # It tells each of its steps, in a format of its own.
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        self.run([listening])


def listen(host: str, port: int, token: str | None) -> socket.socket:
    """A socket that listens.

    Args:
        host: Address of this machine to listen at.
        port: 0 for a free one.
        token: What clients have to know; to listen beyond this machine without one is warned of.

    Raises:
        UserError: Nothing can listen there.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family)
    except (OSError, OverflowError, UnicodeError) as error:
        raise UserError(
            f"host={host} port={port}: cannot listen there: {error}. Choose another port, or port=0"
            " for a free one; host=127.0.0.1 is this machine alone, host=0.0.0.0 all networks."
        ) from error
    # Else an answer's body waits, some 40 ms, until its head is acknowledged: asyncio sets this for
    # sockets of its own alone.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    at, number = listening.getsockname()[:2]
    log.info("Listening on http://%s:%d", f"[{at}]" if ":" in at else at, number)
    if token is None and not ipaddress.ip_address(at).is_loopback:
        log.warning(
            "Whoever reaches %s may have pictures inspected: set token=..., or the environment"
            " variable ADPT_TOKEN, to ask for it",
            at,
        )
    return listening
