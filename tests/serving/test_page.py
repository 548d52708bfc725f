"""The page that a server offers, in a real browser."""

import json
import os
import select
import shutil
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import drawn
from adpt.serving.service import Service
from adpt.serving.upload import Limits
from serving_client import served, small_inspector

PATIENCE = 60
"""Seconds for what a browser does in less than one."""


class Browser:
    """Chromium without a window, spoken to by its pipes of the DevTools protocol."""

    def __init__(self, folder: Path) -> None:
        (told, self._out), (self._in, heard) = os.pipe(), os.pipe()
        words = (
            "chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage"
            " --no-first-run --disable-background-networking --disable-component-update"
            f" --remote-debugging-pipe --user-data-dir={folder} about:blank 3<&{told} 4>&{heard}"
        )
        self.process = subprocess.Popen(
            ["bash", "-c", f"exec {words}"],
            pass_fds=(told, heard),
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        os.close(told)
        os.close(heard)
        self._number, self._rest, self._session = 0, b"", {}
        (page, *_) = (
            one for one in self("Target.getTargets")["targetInfos"] if one["type"] == "page"
        )
        attached = self("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = {"sessionId": attached["sessionId"]}

    def __call__(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters, **self._session}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._rest:
                assert select.select([self._in], [], [], PATIENCE)[0], f"no answer to {method}"
                part = os.read(self._in, 2**16)
                assert part, "the browser is gone"
                self._rest += part
            line, _, self._rest = self._rest.partition(b"\0")
            answer = json.loads(line)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def value(self, expression: str) -> Any:
        """What a script gives, or comes to once it has waited."""
        done = self(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def until(self, condition: str) -> None:
        end = time.monotonic() + PATIENCE
        while not self.value(f"Boolean({condition})"):
            assert time.monotonic() < end, condition
            time.sleep(0.02)

    def press(self, key: str, code: int) -> None:
        for kind in ("rawKeyDown", "keyUp"):
            self("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def drop(self, path: Path) -> None:
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self("Input.dispatchDragEvent", type=kind, x=300, y=200, data=data)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(60)
        os.close(self._in)
        os.close(self._out)


VERDICT = "document.getElementById('verdict')"


@pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not installed")
def test_a_picture_dropped_on_the_page_is_judged(tmp_path: Path) -> None:
    photos = drawn.draw_mvtec(tmp_path / "photos") / "bottle"
    bad, good = photos / "test" / "scratch" / "000.png", photos / "train" / "good" / "000.png"
    inspector = small_inspector(photos)
    products = {"bottle": inspector, "can": inspector}
    with (
        served(Service(products, Limits(megabytes=1), "abc")) as server,
        closing(Browser(tmp_path / "profile")) as browser,
    ):
        browser("Page.navigate", url=f"http://127.0.0.1:{server.port}/")
        browser.until("document.readyState === 'complete' && document.getElementById('drop')")
        browser.drop(bad)
        browser.until(f"{VERDICT}.className.includes('failed')")
        assert "takes requests with its token alone" in browser.value(f"{VERDICT}.textContent")
        # By the keyboard alone: product, token and picture are reached one after the other.
        reached = []
        for _ in range(3):
            browser.press("Tab", 9)
            reached.append(browser.value("document.activeElement.id"))
        assert reached == ["product", "token", "picture"]
        browser.value("document.getElementById('token').value = 'abc'")
        browser.drop(bad)
        browser.until(f"{VERDICT}.textContent === 'Anomalous'")
        browser.until("document.getElementById('heatmap').naturalWidth > 0")
        shown = browser.value("document.getElementById('scores').textContent")
        found = inspector.predict(bad)
        assert shown.startswith(f"000.png: score {float(f'{found.score:.4g}'):g}, anomalous above")
        rows = browser.value("document.getElementById('regions').tBodies[0].rows.length")
        assert rows == len(found.regions) > 0
        assert browser.value("getComputedStyle(document.getElementById('regions')).display")
        # A chosen one, and one that the server would refuse.
        picture = browser("Runtime.evaluate", expression="document.getElementById('picture')")
        browser("DOM.setFileInputFiles", files=[str(good)], objectId=picture["result"]["objectId"])
        browser.until(f"{VERDICT}.textContent === 'Normal'")
        assert browser.value("document.getElementById('regions').hidden")
        (tmp_path / "large.png").write_bytes(bytes(1_000_001))
        browser.drop(tmp_path / "large.png")
        browser.until(f"{VERDICT}.textContent === 'large.png takes more than 1 MB.'")
        (tmp_path / "<b>no.png").write_text("no picture")
        browser.drop(tmp_path / "<b>no.png")
        browser.until(f"{VERDICT}.textContent.startsWith('cannot be read as an image')")
        # Nothing came from elsewhere.
        assert browser.value(
            "performance.getEntriesByType('resource')"
            ".every((one) => one.name.startsWith(location.origin))"
        )
