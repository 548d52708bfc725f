"""The command: signals and kills."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from threading import Event, Thread
from time import sleep
from typing import Any

import pytest

import warm
from adpt.serve import serve
from adpt.serving import server
from adpt.serving import service as services
from adpt.serving.answer import inspect
from adpt.serving.service import Service
from runs import composed, quiet_logging
from serving_client import Client, small_inspector


@pytest.fixture(scope="module")
def model(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "bottle.adpt.safetensors"
    small_inspector(photos).save(path)
    return path


def run(*words: str) -> int:
    """Run the entry in this process; its exit code."""
    try:
        with quiet_logging():
            serve(composed("serve", "device=cpu", *words))
    except SystemExit as left:
        return int(left.code or 0)
    return 0


class Asked:
    """Three clients, and the signals that come while the first picture is in work."""

    def __init__(self) -> None:
        self.signals: list[int] = []
        self.threads: list[Thread] = []
        self.found: list[Any] = []

    def answers(self) -> list[Any]:
        """Status of each answer; an error where there was none."""
        for thread in self.threads:
            thread.join(60)
        return self.found


@pytest.fixture
def asked(photos: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    content = (photos / "test" / "scratch" / "000.png").read_bytes()
    asked = Asked()
    plain, listened = server.listen, Event()

    def slow(*args: Any, **options: Any) -> Any:
        # All three are inside once the first is in work, and the signal comes meanwhile.
        sleep(0.3)
        if listened.is_set():
            listened.clear()
            for signum in asked.signals:
                os.kill(os.getpid(), signum)
                sleep(0.3)
        return inspect(*args, **options)

    def ask(client: Client) -> None:
        try:
            asked.found.append(client.inspect(content)[0])
        except OSError as error:
            asked.found.append(error)

    def listen(*args: Any) -> Any:
        listening = plain(*args)
        client = Client(Service({}), listening.getsockname()[1])
        asked.threads.extend(Thread(target=ask, args=(client,)) for _ in "abc")
        for thread in asked.threads:
            thread.start()
        listened.set()
        return listening

    monkeypatch.setattr(services, "inspect", slow)
    monkeypatch.setattr(server, "listen", listen)
    return asked


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_once_all_taken_in_is_answered(
    model: Path, asked: Asked, signum: int
) -> None:
    asked.signals.append(signum)
    assert run(f"inspector={model}", "port=0") == 0
    assert asked.answers() == [200] * 3


def test_a_second_ctrl_c_ends_it_at_once(
    model: Path, asked: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    asked.signals += [signal.SIGTERM, signal.SIGINT]
    assert run(f"inspector={model}", "port=0") == 130
    assert "adpt: Stopped by SIGINT.\n" in capsys.readouterr().err
    assert 200 not in asked.answers()


class Process:
    """A server in a process."""

    def __init__(self, *words: str, **environment: str) -> None:
        self.process = warm.Forked(
            [sys.executable, "-u", "-m", "adpt.serve", "device=cpu", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | environment,
        )
        self.lines: list[str] = []
        self.port = 0
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if found := re.search(r"Listening on http://127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])
                break
        Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines += self.process.stdout

    def post(self, content: bytes, **headers: str) -> tuple[int, Any]:
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=120)) as connection:
            named = {"Content-Type": "image/png", **headers}
            connection.request("POST", "/inspect", content, named)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())


@contextmanager
def running(*words: str, **environment: str) -> Iterator[Process]:
    made = Process(*words, **environment)
    try:
        yield made
    finally:
        made.process.kill()
        made.process.wait(60)


@pytest.mark.slow
def test_after_a_kill_nothing_is_left_and_the_next_starts(model, photos, tmp_path) -> None:
    content = (photos / "test" / "scratch" / "000.png").read_bytes()
    with running(f"inspector={model}", "port=0", TMPDIR=str(tmp_path), ADPT_TOKEN="abc") as first:  # noqa: S106
        assert first.post(content)[0] == 401
        status, answer = first.post(content, Authorization="Bearer abc")
        assert (status, answer["anomalous"]) == (200, True)
        with closing(HTTPConnection("127.0.0.1", first.port)) as half:
            half.putrequest("POST", "/inspect")
            half.putheader("Content-Length", str(len(content)))
            half.putheader("Content-Type", "image/png")
            half.putheader("Authorization", "Bearer abc")
            half.endheaders(content[:100])
            first.process.send_signal(signal.SIGKILL)
        first.process.wait(60)
    assert list(tmp_path.iterdir()) == []
    with running(f"inspector={model}", f"port={first.port}") as second:
        assert second.port == first.port
        answers: list[tuple[int, Any]] = []
        threads = [Thread(target=lambda: answers.append(second.post(content))) for _ in range(8)]
        for thread in threads:
            thread.start()
        while not answers:
            pass
        second.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(120)
        assert second.process.wait(60) == 0
        # Who was not connected yet when it stopped is refused by the system.
        assert all(found == (200, answer) for found in answers)
        assert "Stopped by SIGTERM. All pictures taken in are answered.\n" in second.lines[-1]
        assert "abc" not in "".join(first.lines + second.lines)


def test_what_is_wrong_with_the_command_is_one_message(tmp_path, model, capsys) -> None:
    for words, said in {
        (f"inspector={tmp_path}",): "there is no inspector in that folder",
        ("port=8000",): "inspector",
        (f"inspector={model}", "queue=0"): "queue=0",
        (f"inspector={model}", "host=nowhere.invalid"): "host=nowhere.invalid port=8000: cannot",
        (f"inspector={model}", "regions.of_peak=2"): "regions.of_peak=2",
    }.items():
        assert run(*words) == 1
        assert said in capsys.readouterr().err


def test_without_the_extra_it_is_named(model, monkeypatch, capsys) -> None:
    monkeypatch.setattr("adpt.serve.find_spec", lambda name: None)
    assert run(f"inspector={model}") == 1
    assert "pip install 'adpt[serve]'" in capsys.readouterr().err


def test_no_part_of_an_answer_waits_for_the_one_before() -> None:
    with (
        closing(server.listen("127.0.0.1", 0, "secret")) as listening,
        socket.create_connection(listening.getsockname()),
        closing(listening.accept()[0]) as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
