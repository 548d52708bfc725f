"""A server under load: requests a second, times, memory, a kill and a stop; see README.md."""

import argparse
import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from adpt import Inspector

CASES: dict[str, dict[str, Any]] = {
    "small": {"backbone": {"name": "efficientnet_lite0", "levels": [2, 3]}, "image_size": 64},
    "default": {},
}
SIDE = {"small": 64, "default": 700}
CLIENTS = (1, 4)
WARM = 0.1
"""Share of the requests before memory is called what it is from then on."""


def pictures(side: int) -> list[bytes]:
    """Twenty files of soft stripes and grain, every fifth with a blot."""
    generator = np.random.default_rng(0)
    across, down = np.meshgrid(*[np.linspace(0, 1, side)] * 2)
    found = []
    for number in range(20):
        values = 128 + 60 * np.sin(12 * across + number / 9) + generator.normal(0, 6, (side, side))
        if number % 5 == 0:
            values[(across - 0.5) ** 2 + (down - 0.4) ** 2 < 0.02] = 20
        file = io.BytesIO()
        Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(file, "PNG")
        found.append(file.getvalue())
    return found


class Server:
    """The command in a process of its own."""

    def __init__(self, model: Path, port: int = 0) -> None:
        start = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "adpt.serve", f"inspector={model}", f"port={port}",
             "device=cpu"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])
                break
        self.start_s = time.monotonic() - start
        self.log: list[str] = []
        threading.Thread(
            target=lambda: self.log.extend(self.process.stdout or ()), daemon=True
        ).start()

    def post(self, connection: HTTPConnection, content: bytes) -> tuple[int, Any]:
        """Status and answer to a picture."""
        connection.request("POST", "/inspect", content, {"Content-Type": "image/png"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    def connection(self) -> HTTPConnection:
        """A new connection to it."""
        return HTTPConnection("127.0.0.1", self.port, timeout=300)

    def memory_mb(self) -> float:
        """Its resident memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1e3  # type: ignore[index]

    def cpu_s(self) -> float:
        """The time that it has computed."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load(server: Server, files: list[bytes], expected: list[float], clients: int, count: int):
    """Times of requests in seconds, and memory as they went."""
    numbers: Iterator[int] = iter(range(count))
    lock, times, memory = threading.Lock(), [], []

    def client() -> None:
        with closing(server.connection()) as connection:
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                start = time.monotonic()
                status, answer = server.post(connection, files[number % len(files)])
                times.append(time.monotonic() - start)
                assert (status, answer["score"]) == (200, expected[number % len(files)])
                if number % max(1, count // 100) == 0:
                    memory.append(server.memory_mb())

    with ThreadPoolExecutor(clients) as threads:
        for done in [threads.submit(client) for _ in range(clients)]:
            done.result()
    return np.array(times), memory


def measure(case: str, clients: int, count: int, folder: Path) -> dict[str, Any]:
    """A row of the table."""
    files = pictures(SIDE[case])
    good = folder / f"{case}-good"
    good.mkdir(exist_ok=True)
    for number, content in enumerate(files):
        if number % 5:
            (good / f"{number:02}.png").write_bytes(content)
    model = folder / f"{case}.adpt.safetensors"
    if not model.exists():
        Inspector.fit(good, device="cpu", **CASES[case]).save(model)
    server = Server(model)
    with closing(server.connection()) as connection:
        expected = [server.post(connection, content)[1]["score"] for content in files]
    before, start = server.cpu_s(), time.monotonic()
    times, memory = load(server, files, expected, clients, count)
    seconds, cpu = time.monotonic() - start, server.cpu_s() - before
    warm = memory[int(WARM * len(memory)) :]

    # A kill in the midst of requests; the next one answers at the same port.
    busy = threading.Thread(target=ignoring, args=(server, files))
    busy.start()
    time.sleep(0.2)
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()
    busy.join()
    again = Server(model, server.port)
    with closing(again.connection()) as connection:
        assert again.post(connection, files[0])[1]["score"] == expected[0]
    # A stop in the midst of requests: all that was taken in is answered.
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(once, again, content) for content in files[:8]]
        time.sleep(0.05)
        again.process.send_signal(signal.SIGTERM)
        answers = [one.result() for one in asked]
    assert again.process.wait(60) == 0
    assert [one for one in answers if one not in (None, *expected)] == []
    return {
        "case": case, "clients": clients, "requests": count,
        "requests_per_s": round(count / seconds, 1),
        "cpu_ms_per_request": round(1000 * cpu / count, 2),
        "p50_ms": round(1000 * float(np.quantile(times, 0.5)), 1),
        "p99_ms": round(1000 * float(np.quantile(times, 0.99)), 1),
        "memory_mb_at_10_percent": round(warm[0], 1),
        "memory_mb_highest_after": round(max(warm), 1),
        "memory_mb_at_end": round(warm[-1], 1),
        "start_s": round(server.start_s, 1), "restart_s": round(again.start_s, 1),
    }  # fmt: skip


def once(server: Server, content: bytes) -> float | None:
    """A picture's score; None where nobody listens any more."""
    try:
        with closing(server.connection()) as connection:
            score: float = server.post(connection, content)[1]["score"]
            return score
    except OSError:
        return None


def ignoring(server: Server, files: list[bytes]) -> None:
    """Ask until the server is gone."""
    while once(server, files[0]) is not None:
        pass


def main() -> None:
    """Measure all cases; results.csv beside this file has those that are done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", type=int, default=20_000, help="requests of small pictures")
    parser.add_argument("--default", type=int, default=300, help="requests of large pictures")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            for clients in CLIENTS:
                # Memory is a question of many requests; once is enough.
                count = getattr(arguments, case) // (10 if clients == 1 else 1)
                rows.append(measure(case, clients, count, Path(folder)))
                print(rows[-1], flush=True)
                with (Path(__file__).parent / "results.csv").open("w", newline="") as file:
                    table = csv.DictWriter(file, list(rows[0]))
                    table.writeheader()
                    table.writerows(rows)


if __name__ == "__main__":
    main()
