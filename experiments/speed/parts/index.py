"""How long it takes to list Real-IAD: a drawn tree of 150,000 empty files, and its JSON splits."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from measuring import Row

from adpt.data import RealIAD
from adpt.data.index import SETTLED

CLASSES = RealIAD.known_classes
SOUND, DEFECTIVE, VIEWS, MASKED = 500, 300, 5, 3
"""Products a class, camera views, and views that show a defect: 5,000 files in all a class."""
RUNS = 5

SETUP = """
import sys, time
from adpt.data import RealIAD
data = RealIAD(sys.argv[1], split=sys.argv[2] or None)
start = time.perf_counter()
data.setup()
print(time.perf_counter() - start, len(data.samples))
"""


def rows() -> Iterator[Row]:
    """First and further listings by folder and by the set's own split; changes are noticed."""
    with tempfile.TemporaryDirectory() as folder, cache_in(Path(folder) / "cache"):
        root = Path(folder) / "realiad"
        files = draw(root)
        time.sleep(SETTLED + 0.1)
        for split, what in (("", "by folder"), ("realiad_jsons", "by its JSON split")):
            first, found = setup(root, split)
            again = sorted(setup(root, split) for _ in range(RUNS))
            if {number for _, number in again} != {found}:
                raise AssertionError(f"{again}: the index gives another number than {found}")
            ratios = [first / seconds for seconds, _ in again]
            work = f"`setup`, {what}: {files} empty files, {found} images"
            yield Row("Real-IAD index", f"first {work}", first, goal=10.0, kind="limit")
            yield Row(
                "Real-IAD index",
                f"further {work}",
                again[RUNS // 2][0],
                first,
                "first `setup`, once",
                ratio=first / again[RUNS // 2][0],
                low=min(ratios),
                high=max(ratios),
                goal=0.5,
                kind="limit",
                note="each in a new process; the import is not counted",
            )
        check_changes(root, found)


def draw(root: Path) -> int:
    """Draw the tree and its list of all images; how many files it has, without the lists."""
    files = 0
    for name in CLASSES:
        listed = {"train": [], "test": []}
        for kind, split, products in (("OK", "train", SOUND), ("QS", "test", DEFECTIVE)):
            for product in range(1, products + 1):
                inner = f"{'NG/' if kind != 'OK' else ''}{kind}/S{product:04d}"
                folder = root / "realiad_512" / name / inner
                folder.mkdir(parents=True)
                for view in range(1, VIEWS + 1):
                    stem = f"{name}_{product:04d}_{kind}_C{view}_20231023111538"
                    # A third of the products show their defect in one view more.
                    shown = kind != "OK" and view <= MASKED + (product % 3 == 0)
                    masks = [f"{stem}.png"] if shown else []
                    for file in (f"{stem}.jpg", *masks):
                        (folder / file).touch()
                        files += 1
                    listed[split].append(
                        {
                            "category": name,
                            "anomaly_class": kind if shown else "OK",
                            "image_path": f"{inner}/{stem}.jpg",
                            "mask_path": f"{inner}/{masks[0]}" if shown else None,
                        }
                    )
        list_file = root / "realiad_jsons" / "realiad_jsons" / f"{name}.json"
        list_file.parent.mkdir(parents=True, exist_ok=True)
        list_file.write_text(
            json.dumps({"meta": {"normal_class": "OK", "prefix": f"{name}/"}, **listed})
        )
    return files


def setup(root: Path, split: str) -> tuple[float, int]:
    """List the set in a process of its own: seconds, and how many images it found."""
    command = [sys.executable, "-c", SETUP, str(root), split]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, found = done.stdout.split()
    return float(seconds), int(found)


def check_changes(root: Path, found: int) -> None:
    """Add, remove and rename a file, and change a list: the next listing must see each."""
    folder = root / "realiad_512" / CLASSES[0] / "OK" / "S0001"
    image = sorted(folder.iterdir())[0]
    for change, number in (
        (lambda: (folder / "added_C1_.jpg").touch(), found + 1),
        (lambda: (folder / "added_C1_.jpg").unlink(), found),
        (lambda: image.rename(folder / "renamed_C2_.jpg"), found),
        (lambda: (folder / "renamed_C2_.jpg").rename(image), found),
    ):
        change()
        if setup(root, "")[1] != number:
            raise AssertionError(f"{number} images expected after a change")
    list_file = root / "realiad_jsons" / "realiad_jsons" / f"{CLASSES[0]}.json"
    content = json.loads(list_file.read_text())
    content["train"].pop()
    list_file.write_text(json.dumps(content))
    if setup(root, "realiad_jsons")[1] != found - 1:
        raise AssertionError("The changed list was not noticed")


@contextmanager
def cache_in(folder: Path) -> Iterator[None]:
    """Let the indices lie beside `folder`."""
    before = os.environ.get("ADPT_CACHE")
    os.environ["ADPT_CACHE"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["ADPT_CACHE"]
        else:
            os.environ["ADPT_CACHE"] = before
