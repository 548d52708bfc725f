"""Counts of a server, in the text format that Prometheus reads."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping

BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds; a request that took longer than the last counts in none but `+Inf`."""

Labels = tuple[tuple[str, str], ...]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counts of requests and pictures, and how long inspections took.

    Attributes:
        requests: By status.
        pictures: By product and verdict: normal, anomalous or unreadable.
    """

    def __init__(self) -> None:
        self.requests: Counter[int] = Counter()
        self.pictures: Counter[tuple[str, str]] = Counter()
        self._buckets = [0] * (len(BUCKETS) + 1)
        self._seconds = 0.0

    def took(self, seconds: float) -> None:
        """Count an inspection, from the request's first byte to the answer."""
        self._buckets[bisect_left(BUCKETS, seconds)] += 1
        self._seconds += seconds

    def text(self, inside: int, limit: int) -> str:
        """All of it.

        Args:
            inside: Pictures that were taken in and not answered yet.
            limit: How many may be.
        """
        by_verdict: dict[Labels, int] = {
            (("product", product), ("verdict", verdict)): count
            for (product, verdict), count in sorted(self.pictures.items())
        }
        by_status: dict[Labels, int] = {
            (("status", str(status)),): count for status, count in sorted(self.requests.items())
        }
        lines = [
            *_family("requests_total", "counter", "HTTP requests by status.", by_status),
            *_family("pictures_total", "counter", "Pictures by product and verdict.", by_verdict),
            *_family("queue_depth", "gauge", "Pictures taken in and not answered.", {(): inside}),
            *_family("queue_limit", "gauge", "How many of these there may be.", {(): limit}),
            *self._histogram(),
        ]
        return "\n".join(lines) + "\n"

    def _histogram(self) -> Iterable[str]:
        name = "inspection_seconds"
        yield from _head(name, "histogram", "Time from a picture's request to its answer.")
        below = 0
        for bound, count in zip((*BUCKETS, "+Inf"), self._buckets, strict=True):
            below += count
            yield _sample(f"{name}_bucket", (("le", str(bound)),), below)
        yield _sample(f"{name}_sum", (), self._seconds)
        yield _sample(f"{name}_count", (), below)


def _family(name: str, kind: str, text: str, samples: Mapping[Labels, float]) -> Iterable[str]:
    yield from _head(name, kind, text)
    for labels, value in samples.items():
        yield _sample(name, labels, value)


def _head(name: str, kind: str, text: str) -> Iterable[str]:
    yield f"# HELP adpt_{name} {text}"
    yield f"# TYPE adpt_{name} {kind}"


def _sample(name: str, labels: Labels, value: float) -> str:
    told = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels)
    return f"adpt_{name}{{{told}}} {value}" if told else f"adpt_{name} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
