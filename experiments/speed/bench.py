"""Measure every part and print the table: `python experiments/speed/bench.py [part ...]`.

Each part runs in a process of its own, so that none inherits the memory or the threads of another.
`--save` also writes results.jsonl beside this file, from which `--table` prints the table again.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results.jsonl"


def main() -> None:
    """Run the parts asked for, all by default."""
    known = sorted(path.stem for path in (HERE / "parts").glob("*.py") if path.stem != "__init__")
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("parts", nargs="*", help=f"some of {', '.join(known)}; all by default")
    parser.add_argument("--save", action="store_true", help="write results.jsonl, part by part")
    parser.add_argument("--table", action="store_true", help="print what results.jsonl holds")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.parts) - set(known)):
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(known)}")
    if arguments.table:
        if not RESULTS.exists():
            sys.exit(f"There is no {RESULTS}: measure with --save first.")
        kept = [json.loads(line) for line in RESULTS.read_text().splitlines()]
        print(table([row for row in kept if row["name"] in (arguments.parts or known)]))
        return
    rows, failed = [], []
    for part in arguments.parts or known:
        start = time.perf_counter()
        print(f"{part} ...", end=" ", file=sys.stderr, flush=True)
        found, ended = run(part)
        print(f"{time.perf_counter() - start:.0f} s", file=sys.stderr)
        rows += found
        if ended is None:
            failed.append(f"{part} (stopped)")
            break
        if ended:
            failed.append(part)
        elif arguments.save:
            save(part, found)
    print(table(rows))
    if failed:
        sys.exit(f"Not measured to the end: {', '.join(failed)}")


def run(part: str) -> tuple[list[dict[str, Any]], int | None]:
    """The rows of one part as far as it came, and its exit code; None after Ctrl-C."""
    code = (
        f"import sys; sys.path.insert(0, {str(HERE)!r})\n"
        f"from parts.{part} import rows\n"
        "if __name__ == '__main__':\n"
        "    for row in rows(): print('ROW', row.to_json(), flush=True)\n"
    )
    command = [sys.executable, "-c", code]
    rows: list[dict[str, Any]] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            for line in process.stdout or ():
                if line.startswith("ROW "):
                    rows.append(json.loads(line.removeprefix("ROW ")) | {"name": part})
        except KeyboardInterrupt:
            process.kill()
            return rows, None
    return rows, process.returncode


def save(part: str, rows: Sequence[dict[str, Any]]) -> None:
    """Replace the rows of one part in results.jsonl."""
    from measuring import machine

    before = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    others = [row for row in map(json.loads, before) if row["name"] != part]
    named = [row | {"machine": machine()} for row in rows]
    everything = sorted(others + named, key=lambda row: row["name"])
    RESULTS.write_text("".join(json.dumps(row) + "\n" for row in everything))


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| part | work | ours | other side | ratio (range) | goal | met |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        other = (
            ""
            if row["other"] is None
            else f"{amount(row['other'], row['unit'])}, {row['other_name']}"
        )
        ratio = ""
        if row["ratio"] is not None:
            ratio = f"{row['ratio']:.3g}×"
            if row["low"] is not None:
                ratio += f" ({row['low']:.3g}–{row['high']:.3g})"
        goal = ""
        if row["goal"] is not None:
            limit = row["kind"] == "limit"
            goal = f"≤ {amount(row['goal'], row['unit'])}" if limit else f"≥ {row['goal']:.3g}×"
        met = {True: "yes", False: "**no**", None: ""}[row["met"]]
        work = row["work"] + (f" ({row['note']})" if row["note"] else "")
        cells = (row["part"], work, amount(row["ours"], row["unit"]), other, ratio, goal, met)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def amount(value: float, unit: str) -> str:
    """A value with its unit, in three digits."""
    if unit == "s" and value < 1:
        return f"{value * 1000:.3g} ms"
    return f"{value:.4g} {unit}"


if __name__ == "__main__":
    main()
