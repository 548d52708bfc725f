"""Put a report's overview table into README.md, and results.csv beside it, without paths.

python experiments/six_methods/table.py <folder of report.md and results.csv> <OUT of run.sh>
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
START, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"


def main() -> None:
    """Replace what lies between the marks."""
    report, out = Path(sys.argv[1]), sys.argv[2]
    text = (report / "report.md").read_text(encoding="utf-8")
    overview = text.split("## Means over classes", 1)[1].split("## Per class", 1)[0]
    overview = "\n".join(line for line in overview.splitlines() if not line.startswith("###"))
    readme = HERE / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(START, 1)
    after = rest.split(END, 1)[1]
    readme.write_text(before + START + overview.strip() + "\n" + END + after, encoding="utf-8")
    csv = (report / "results.csv").read_text(encoding="utf-8").replace(out.rstrip("/"), "$OUT")
    (HERE / "results.csv").write_text(csv, encoding="utf-8")


if __name__ == "__main__":
    main()
