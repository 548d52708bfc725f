"""The server on a socket, in this process: what it answers, and what it refuses."""

import base64
import io
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import adpt
from adpt.inspection.products import inspectors_of
from adpt.inspection.rows import Row
from adpt.serving import server as serving
from adpt.serving import service as services
from adpt.serving.server import listen
from adpt.serving.service import Service
from adpt.serving.upload import Limits
from serving_client import Client, served, small_inspector

TOKEN = "s3cret-ünï"  # noqa: S105


@pytest.fixture(scope="module")
def inspector(photos: Path) -> adpt.Inspector:
    return small_inspector(photos)


@pytest.fixture(scope="module")
def client(inspector: adpt.Inspector) -> Iterator[Client]:
    with served(Service({"bottle": inspector})) as client:
        yield client


@pytest.fixture(scope="module")
def bad(photos: Path) -> bytes:
    return (photos / "test" / "scratch" / "000.png").read_bytes()


def test_the_answer_is_the_row_that_predict_writes(client, inspector, photos, bad) -> None:
    status, answer = client.inspect(bad, "/inspect?name=000.png")
    found = inspector.predict(photos / "test" / "scratch" / "000.png")
    told = (found.score, found.normalised, found.anomalous, found.threshold)
    row = Row("000.png", *told, regions=found.regions)
    assert (status, answer) == (200, json.loads(json.dumps(row.as_dict())))
    assert answer["anomalous"]
    assert answer["regions"]


def test_files_of_16_bits_are_read_as_from_the_disk(client, inspector, tmp_path: Path) -> None:
    grey = np.linspace(0, 4095, 60 * 60).reshape(60, 60).astype(np.uint16)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    status, answer = client.inspect((tmp_path / "grey.png").read_bytes())
    assert (status, answer["score"]) == (200, inspector.predict(tmp_path / "grey.png").score)


def test_the_heatmap_comes_within_the_answer_or_alone(client, bad) -> None:
    size = Image.open(io.BytesIO(bad)).size
    for form, media in (("png", "image/png"), ("jpg", "image/jpeg")):
        _, answer = client.inspect(bad, f"/inspect?heatmap={form}")
        start, _, data = answer["heatmap"].partition(",")
        assert start == f"data:{media};base64"
        picture = Image.open(io.BytesIO(base64.b64decode(data)))
        assert (picture.size, picture.get_format_mimetype()) == (size, media)
        status, content, headers = client(
            "POST", "/inspect", bad, Content_Type="image/png", Accept=f"{media},*/*"
        )
        assert (status, content) == (200, base64.b64decode(data))
        assert headers["content-type"] == media
        assert headers["x-adpt-verdict"] == "anomalous"
        assert float(headers["x-adpt-score"]) == answer["score"]
    assert client.inspect(bad)[1]["heatmap"] == ""


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 50])
def test_what_cannot_be_read_is_told_as_in_the_tables(client, content: bytes) -> None:
    status, answer = client.inspect(content, "/inspect?name=broken.png&heatmap=png")
    assert status == 422
    assert (answer["path"], answer["score"], answer["anomalous"]) == ("broken.png", None, None)
    assert answer["error"].startswith("cannot be read as an image")
    assert "/proc" not in answer["error"]


def test_a_header_that_claims_too_much_is_not_decoded(client, inspector) -> None:
    head = io.BytesIO()
    Image.new("L", (3000, 2000)).save(head, format="PNG")
    small = adpt.Inspector(inspector._model, max_megapixels=1)
    with served(Service({"bottle": small})) as client:
        status, answer = client.inspect(head.getvalue())
    assert status == 422
    assert "claims 3000x2000 pixels" in answer["error"]


REFUSED: dict[str, tuple[Callable[[Client, bytes], tuple[int, Any, Any]], int, str]] = {
    "another path": (lambda c, bad: c("POST", "/inspekt", bad), 404, "Not Found"),
    "another method": (lambda c, bad: c("GET", "/inspect"), 405, "Method Not Allowed"),
    "another product": (
        lambda c, bad: c("POST", "/inspect/b%1botl", bad, Content_Type="image/png"),
        404,
        "There is no product 'b\\\\x1botl' here: bottle.",
    ),
    "a form": (
        lambda c, bad: c("POST", "/inspect", bad, Content_Type="multipart/form-data; boundary=x"),
        415,
        "The Content-Type is 'multipart/form-data', not image/...",
    ),
    "no type": (lambda c, bad: c("POST", "/inspect", bad), 415, "The Content-Type is missing"),
    "a packed body": (
        lambda c, bad: c(
            "POST", "/inspect", bad, Content_Type="image/png", Content_Encoding="gzip"
        ),
        415,
        "The body has a Content-Encoding",
    ),
    "another format": (
        lambda c, bad: c("POST", "/inspect?heatmap=gif", bad, Content_Type="image/png"),
        400,
        "heatmap: Input should be 'jpg' or 'png'",
    ),
    "a long name": (
        lambda c, bad: c("POST", f"/inspect?name={'x' * 300}", bad, Content_Type="image/png"),
        400,
        "name: String should have at most 255 characters",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_request_is_refused_with_a_reason(client, bad, case: str) -> None:
    ask, status, said = REFUSED[case]
    found, answer, _ = ask(client, bad)
    assert found == status
    assert answer.keys() == {"error"}
    assert answer["error"].startswith(said)
    assert client.service.inside == 0


# ---- Limits -----------------------------------------------------------------------------------


def test_a_large_file_is_refused_by_its_length_and_while_it_comes(inspector, monkeypatch) -> None:
    taken = []
    monkeypatch.setattr(services, "inspect", lambda *args, **options: taken.append(args))
    with served(Service({"bottle": inspector}, Limits(megabytes=0.1))) as client:
        status, answer = client.inspect(bytes(100_001))
        assert (status, answer["error"]) == (413, "The picture takes more than max_megabytes=0.1.")
        # Of no stated length, and without an end.
        parts = (b"x" * 10_000 for _ in range(50))
        assert client.inspect(parts)[0] == 413
    assert not taken


def test_slow_clients_are_sent_away(inspector, monkeypatch) -> None:
    monkeypatch.setattr(serving, "_PATIENCE", 0.2)
    with (
        served(Service({"bottle": inspector}, Limits(seconds=0.3))) as client,
        closing(socket.create_connection(("127.0.0.1", client.port), timeout=20)) as head,
        closing(socket.create_connection(("127.0.0.1", client.port), timeout=20)) as body,
    ):
        body.sendall(
            b"POST /inspect HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\n"
            b"Content-Length: 1000\r\n\r\n"
        )
        # A byte now and then keeps no connection.
        closed = False
        for letter in b"GET / HTTP/1.1\r\nHost: aaaaaaaaaaaaaaaaaaaaaaaaaaa":
            time.sleep(0.05)
            try:
                head.sendall(bytes([letter]))
            except OSError:
                closed = True
                break
        assert closed or head.recv(10) == b""
        assert body.recv(1000).startswith(b"HTTP/1.1 408 ")
        assert client("GET", "/health")[0] == 200
        assert client.service.inside == 0


def test_who_holds_connections_open_keeps_nobody_out(inspector, bad) -> None:
    with served(Service({"part": inspector})) as client:
        idle = [socket.create_connection(("127.0.0.1", client.port)) for _ in range(600)]
        try:
            assert client("GET", "/health")[0] == 200
            assert client.inspect(bad)[0] == 200
        finally:
            for connection in idle:
                connection.close()


def test_head_is_answered_like_get_without_a_body(client) -> None:
    for path in ("/", "/health", "/metrics", "/nothing"):
        status, _, got = client("GET", path)
        asked, content, headers = client("HEAD", path)
        assert (asked, content) == (status, b"")
        assert headers["content-type"] == got["content-type"]
    assert client("HEAD", "/inspect")[0] == 405


@pytest.mark.parametrize("path", ["/inspect?heatmaps=png", "/inspect/part?product=other"])
def test_a_misspelt_question_is_refused(client, bad, path: str) -> None:
    status, told = client.inspect(bad, path)
    assert status == 400
    name = path.partition("?")[2].partition("=")[0]
    assert told["error"].startswith(f"{name}: there is ")
    assert "heatmap" in told["error"]


def until(reached: Callable[[], object]) -> None:
    """Wait for what another thread does, for a minute at most."""
    last = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < last
        time.sleep(0.01)


def test_no_more_pictures_are_taken_in_than_the_queue_holds(inspector, bad, monkeypatch) -> None:
    go, plain = threading.Event(), services.inspect

    def waiting(*args: Any, **options: Any) -> Any:
        assert go.wait(60)
        return plain(*args, **options)

    monkeypatch.setattr(services, "inspect", waiting)
    answers: list[int] = []
    with served(Service({"bottle": inspector}, Limits(queue=2))) as client:
        threads = [
            threading.Thread(target=lambda: answers.append(client.inspect(bad)[0]))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        until(lambda: client.service.inside == 2)
        status, answer, headers = client("POST", "/inspect", bad, Content_Type="image/png")
        assert (status, headers["retry-after"]) == (503, "1")
        assert answer["error"] == "2 pictures are waiting already. Try again in a moment."
        assert client("GET", "/health")[1]["queue"] == 2
        go.set()
        for thread in threads:
            thread.join(60)
        assert answers == [200, 200]
        assert client.inspect(bad)[0] == 200


def test_a_fault_of_ours_ends_one_request_alone(inspector, bad, monkeypatch) -> None:
    with served(Service({"bottle": inspector})) as client:
        with monkeypatch.context() as patched:
            patched.setattr(services, "inspect", lambda *args, **options: 1 / 0)
            status, answer = client.inspect(bad)
        told = "ZeroDivisionError; the server's log says more."
        assert (status, answer["error"]) == (500, told)
        assert client.inspect(bad)[0] == 200
        assert client.service.inside == 0


def test_who_goes_away_leaves_nothing(inspector, bad) -> None:
    with served(Service({"bottle": inspector})) as client:
        with closing(socket.create_connection(("127.0.0.1", client.port))) as gone:
            gone.sendall(
                b"POST /inspect HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\n"
                b"Content-Length: 1000\r\n\r\nabc"
            )
            until(lambda: client.service.inside == 1)
        until(lambda: client.service.metrics.requests)  # Counted last of all.
        assert client.service.metrics.requests == {499: 1}
        assert client.service.inside == 0


# ---- Who may ask, and which product -----------------------------------------------------------


def test_with_a_token_only_who_knows_it_is_answered(inspector, bad, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    with served(Service({"bottle": inspector}, token=TOKEN)) as client:
        right = f"Bearer {TOKEN}".encode().decode("latin-1")
        for wrong in ({}, {"Authorization": "Bearer nope"}, {"Authorization": right[7:]}):
            status, answer = client.inspect(bad, **wrong)
            assert status == 401
            assert answer["error"].endswith("Authorization: Bearer <token>.")
        assert client.inspect(bad, Authorization=right)[0] == 200
        assert client("GET", "/metrics")[0] == 401
        assert client("GET", "/metrics", Authorization=right)[0] == 200
        assert client("GET", "/health")[0] == 200
        assert client("GET", f"/nowhere?token={TOKEN.encode().hex()}")[0] == 404
        page = client("GET", "/")[1].decode()
    assert 'type="password"' in page
    for secret in (TOKEN, TOKEN.encode().hex(), "s3cret"):
        assert secret not in caplog.text
        assert secret not in page


def test_a_folder_of_inspectors_is_served_by_product(inspector, photos, bad, tmp_path) -> None:
    inspector.save(tmp_path / "bottle.adpt.safetensors")
    inspector.with_threshold(1e9).save(tmp_path / "lax.adpt.safetensors")
    (tmp_path / ".part.adpt.safetensors").touch()
    products = inspectors_of(tmp_path, adpt.Inspector.load)
    assert list(products) == ["bottle", "lax"]
    with served(Service(products)) as client:
        assert client.inspect(bad, "/inspect/bottle")[1]["anomalous"]
        assert not client.inspect(bad, "/inspect/lax")[1]["anomalous"]
        assert client.inspect(bad, "/inspect/lax")[1]["product"] == "lax"
        assert client.inspect(bad, "/inspect/lax/")[0] == 404
        assert not client.inspect(bad, "/inspect?product=lax")[1]["anomalous"]
        status, answer = client.inspect(bad)
        assert (status, answer["error"]) == (
            400,
            "Say which product: POST /inspect/<product>, of bottle, lax.",
        )


@pytest.mark.parametrize("asked", ["caf%C3%A9", "cafe%CC%81"])
def test_a_product_is_known_in_either_unicode_form(inspector, bad, tmp_path, asked: str) -> None:
    for name in ("cafe\u0301", "other"):
        inspector.save(tmp_path / f"{name}.adpt.safetensors")
    with served(Service(inspectors_of(tmp_path, adpt.Inspector.load))) as client:
        assert client.inspect(bad, f"/inspect/{asked}")[1]["product"] == "caf\xe9"


def test_a_folder_without_inspectors_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(adpt.errors.UserError, match=r"(?s)no inspector in that .*<product>\.adpt"):
        inspectors_of(tmp_path, adpt.Inspector.load)


def test_to_listen_openly_without_a_token_is_warned_of(caplog) -> None:
    caplog.set_level(logging.WARNING)
    listen("127.0.0.1", 0, None).close()
    listen("0.0.0.0", 0, "token").close()  # noqa: S104
    assert not caplog.text
    listen("0.0.0.0", 0, None).close()  # noqa: S104
    assert "Whoever reaches 0.0.0.0 may have pictures inspected" in caplog.text


def test_a_port_in_use_is_refused_with_a_remedy() -> None:
    with closing(listen("127.0.0.1", 0, None)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(adpt.errors.UserError, match=f"port={port}: cannot listen there"):
            listen("127.0.0.1", port, None)


# ---- What it tells of itself ------------------------------------------------------------------


def test_metrics_are_prometheus_text(inspector, photos: Path, bad: bytes) -> None:
    good = (photos / "train" / "good" / "000.png").read_bytes()
    with served(Service({'a"\\b': inspector})) as client:
        for picture in (bad, good, b"none"):
            client.inspect(picture)
        client("GET", "/nowhere")
        _, content, headers = client("GET", "/metrics")
    assert headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    text = content.decode()
    assert text.endswith("\n")
    types, samples = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE"):
            _, _, name, types[name] = line.split()
        elif not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            samples[name] = float(value)
            family = name.partition("{")[0]
            assert family in types or family.rpartition("_")[0] in types
    told = 'adpt_pictures_total{product="a\\"\\\\b",verdict="'
    assert [samples[f'{told}{kind}"}}'] for kind in ("anomalous", "normal", "unreadable")] == [
        1
    ] * 3
    assert samples['adpt_requests_total{status="200"}'] == 2
    assert samples['adpt_requests_total{status="422"}'] == 1
    assert samples['adpt_requests_total{status="404"}'] == 1
    assert samples["adpt_queue_depth"] == 0
    assert samples["adpt_queue_limit"] == 32
    buckets = [value for name, value in samples.items() if "_bucket" in name]
    assert buckets == sorted(buckets)
    assert samples['adpt_inspection_seconds_bucket{le="+Inf"}'] == 3
    assert samples["adpt_inspection_seconds_count"] == 3
    assert samples["adpt_inspection_seconds_sum"] > 0


def test_a_request_is_a_line_of_the_log_whatever_it_is_called(client, bad, caplog) -> None:
    caplog.set_level(logging.INFO)
    client.inspect(bad, "/inspect?name=a%1b%0aINFO%20forged.png")
    client("GET", "/%1b%5b2J")
    client("GET", "/health")
    lines = [one.getMessage() for one in caplog.records if one.name.startswith("adpt.serving")]
    assert len(lines) == 2
    assert " POST /inspect 200 " in lines[0]
    assert lines[0].endswith("a\\x1b\\nINFO forged.png")
    assert " GET /\\x1b[2J 404 " in lines[1]


def test_the_schema_tells_the_paths(client) -> None:
    _, schema, _ = client("GET", "/openapi.json")
    assert set(schema["paths"]) == {"/inspect", "/inspect/{product}", "/health", "/metrics"}
    assert client("GET", "/docs")[0] == 404
