"""A fixed results file gives exactly the report that lies beside this test.

Where a change of the report is meant, `python tests/results/test_golden.py` writes the new files:
read what changed in them before they are committed.
"""

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from adpt.results import Record, append_records, latex_tables, markdown_report, read_records, to_csv

GOLDEN = Path(__file__).with_name("golden")
METRICS = {"image_auroc": (0.60, 0.70, 0.80), "pixel_aupro": (0.50, 0.45, 0.40)}
ORIGIN = {
    "versions": {"adpt": "1.0", "torch": "2.6"},
    "config_sha256": "12" * 32,
    "commit": "ab" * 20,
    "hardware": "1 × GPU, 8 cores",
    "created": "2026-01-02T03:04:05+00:00",
}


def result(
    dataset: str, name: str, method: str, kind: int, seed: int, change: float = 0.0
) -> Record:
    """One result; `kind` counts own, residual and pretrained features."""
    record = Record(
        dataset,
        name,
        method,
        ("own", "residual", "pretrained")[kind],
        "clip_b",
        {metric: values[kind] + change for metric, values in METRICS.items()},
        seed=seed,
        shots=8 if kind else None,
        references=tuple(f"{name}/{number:04}.png" for number in range(8)) if kind else (),
        counts={"train": 90, "test": 20, "anomalous": 10, "skipped": 0},
        seconds={"fit": 1.5},
        provenance=ORIGIN | {"command": f"python -m adpt.evaluate data={dataset} seed={seed}"},
    )
    if kind < 2:
        return record
    path = f"runs/without_{name}/seed_{seed}/projector.safetensors"
    sha256 = f"{len(name)}{seed}" * 32
    return dataclasses.replace(record, projector=path, projector_sha256=sha256)


def golden_records() -> list[Record]:
    """A method over seeds with a projector for each class and seed, a trained one, two sets."""
    changes = {("pcb_1", 0): 0.02, ("pcb_1", 1): 0.04, ("a&b | c", 0): 0.05, ("a&b | c", 1): 0.01}
    records = [
        result("visa", name, "padim", kind, seed, change)
        for (name, seed), change in changes.items()
        for kind in range(3)
    ]
    history = tuple({"epoch": e, "loss": 1 / e, "image_auroc": 0.5 + e / 100} for e in (5, 10))
    records += [
        dataclasses.replace(
            result("visa", "pcb_1", "cflow", kind, 0, -0.04 * kind),
            options={"epochs": 10},
            epochs={"trained": 10},
            history=history,
        )
        for kind in range(3)
    ]
    return records + [result("mvtec", "cable", "padim", kind, 0) for kind in (0, 2)]


def write(folder: Path) -> None:
    """Write the report of the golden records, by way of a results file."""
    append_records(folder / "results.jsonl", golden_records())
    records = read_records(folder)
    (folder / "report.md").write_text(markdown_report(records, "Golden"), encoding="utf-8")
    (folder / "tables.tex").write_text(latex_tables(records), encoding="utf-8")
    to_csv(records, folder / "results.csv")


@pytest.mark.parametrize("name", ["report.md", "tables.tex", "results.csv"])
def test_report_is_the_golden_one(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    assert (tmp_path / name).read_bytes() == (GOLDEN / name).read_bytes()


def test_markdown_tables_are_rectangular() -> None:
    lines = markdown_report(golden_records(), "Golden").splitlines()
    widths: list[set[int]] = [set()]
    for line in lines:
        if line.startswith("|"):
            widths[-1].add(len(re.findall(r"(?<!\\)\|", line)))
        elif widths[-1]:
            widths.append(set())
    assert len(widths) > 4
    assert all(len(found) == 1 for found in widths if found)


def test_latex_tables_are_rectangular_and_their_braces_close() -> None:
    text = latex_tables(golden_records())
    tables = re.findall(r"\\begin\{tabular\}\{(l r*|lr*)\}(.*?)\\end\{tabular\}", text, re.DOTALL)
    assert len(tables) == 8
    for columns, content in tables:
        rows = [line for line in content.splitlines() if line.endswith(r"\\")]
        assert rows
        for row in rows:
            spanned = sum(int(number) - 1 for number in re.findall(r"multicolumn\{(\d+)\}", row))
            assert len(re.findall(r"(?<!\\)&", row)) + 1 + spanned == len(columns)
    for environment in ("table", "tabular"):
        begun = text.count(rf"\begin{{{environment}}}")
        assert begun == text.count(rf"\end{{{environment}}}") == 8
    unescaped = re.sub(r"\\[\\{}]", "", text.replace(r"\\", ""))
    assert unescaped.count("{") == unescaped.count("}")
    body = "\n".join(line for line in text.splitlines()[4:] if not line.startswith(r"\resizebox"))
    assert not re.search(r"(?<!\\)[%#_~^]|[<>|±−–·→×]", body)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles_with_names_of_all_kinds(tmp_path: Path) -> None:
    name = r"[red] *x \ ~ ^ < > | & % $ # _ { } ± − – · × →"
    records = [dataclasses.replace(r, class_name=name, dataset=name) for r in golden_records()]
    (tmp_path / "tables.tex").write_text(latex_tables(records), encoding="utf-8")
    (tmp_path / "all.tex").write_text(
        "\\documentclass{article}\n\\usepackage{booktabs,graphicx,xcolor}\n"
        "\\begin{document}\\input{tables}\\end{document}\n"
    )
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]


if __name__ == "__main__":
    shutil.rmtree(GOLDEN, ignore_errors=True)
    write(GOLDEN)
    (GOLDEN / "results.jsonl").unlink()
