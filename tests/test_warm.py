"""What the server of forks leaves behind: nothing, however the tests end."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

OWNER = """
import sys, time
sys.path.insert(0, sys.argv[1])
import warm
warm.listen()
if sys.argv[2] == "asked":
    warm.run([sys.executable, "-c", ""], lean=True)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("used", ["asked", "unasked"])
def test_no_socket_is_left_of_tests_that_are_killed(
    used: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ADPT_WARM_SERVER", raising=False)
    with tempfile.TemporaryDirectory() as folder:  # pytest's own may be too long for a socket.
        monkeypatch.setenv("TMPDIR", folder)
        owner = subprocess.Popen(
            [sys.executable, "-c", OWNER, Path(__file__).parent, used],
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        with owner:
            assert owner.stdout is not None
            assert owner.stdout.readline() == b"ready\n"
            places = list(Path(folder).glob("adpt*/*"))
            assert {place.name for place in places} == {"full", "lean"}
            owner.kill()
        deadline = time.monotonic() + 60
        while list(Path(folder).glob("adpt*")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
