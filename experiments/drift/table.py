"""The README's tables from results.csv.

python experiments/drift/table.py
"""

import csv
from collections.abc import Iterable
from pathlib import Path
from statistics import mean, median

HERE = Path(__file__).parent
START, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"
Row = dict[str, str]


def main() -> None:
    """Write them."""
    with (HERE / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    by_padim = [row for row in rows if row["method"].startswith("padim, ")]
    plain = [row for row in rows if row not in by_padim]
    readme = HERE / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(START, 1)
    after = rest.split(END, 1)[1]
    tables = f"\n{false_notices(plain)}\n{changes(by_padim)}"
    readme.write_text(before + START + tables + END + after, encoding="utf-8")


def false_notices(rows: Iterable[Row]) -> str:
    """Sequences of unchanged pictures with a notice, in percent, above / below."""
    rows = list(rows)
    limits = sorted({row["limit"] for row in rows}, key=float)
    lines = [
        "| pictures in the window | half | " + " | ".join(f"limit {x}" for x in limits) + " |",
        "|---|---|" + "---:|" * len(limits),
    ]
    for window in sorted({row["window"] for row in rows}, key=int):
        for half in ("chosen on", "reported"):
            here = [row for row in rows if (row["window"], row["half"]) == (window, half)]
            cells = [
                " / ".join(
                    f"{100 * mean(float(row[way]) for row in here if row['limit'] == limit):.1f}"
                    for way in ("above", "below")
                )
                for limit in limits
            ]
            lines.append(f"| {window} | {half} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def changes(rows: Iterable[Row]) -> str:
    """What the defaults say of changed pictures."""
    rows = [row for row in rows if row["window"] == "30"]
    lines = [
        "| change | products | sequences with a notice above 3, % | below 5, % | images until the"
        " first (median) | of the pictures beyond the threshold, % | products with a notice above"
        " in most sequences | with most pictures beyond the threshold |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for change in dict.fromkeys(row["change"] for row in rows):
        here = [row for row in rows if row["change"] == change]
        above = [row for row in here if row["limit"] == "3.0"]
        below = [row for row in here if row["limit"] == "5.0"]
        until = [float(row["images_until"]) for row in above if row["images_until"]]
        cells = (
            change,
            str(len(above)),
            f"{100 * mean(float(row['above']) for row in above):.0f}",
            f"{100 * mean(float(row['below']) for row in below):.0f}",
            f"{median(until):.0f}" if until else "–",
            f"{100 * mean(float(row['anomalous']) for row in above):.0f}",
            str(sum(float(row["above"]) > 0.5 for row in above)),
            str(sum(float(row["anomalous"]) > 0.5 for row in above)),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
