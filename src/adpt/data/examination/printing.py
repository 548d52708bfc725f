"""Findings of an examination, printed and as JSON."""

import json
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from adpt.data import AnomalyDataModule
from adpt.data.examination.examine import Examination
from adpt.data.finding import Finding
from adpt.running.names import printable, printable_text
from adpt.running.whole_files import replacing

REMARKS_SHOWN = 5


def print_examination(examination: Examination) -> None:
    """Print faults and remarks by kind, and a summary by kind and class."""
    console = Console(soft_wrap=True, highlight=False)
    of_kind: dict[str, list[Finding]] = {}
    for finding in examination.findings:
        of_kind.setdefault(finding.kind, []).append(finding)
    for kind, findings in of_kind.items():
        is_fault = findings[0].fault
        title = f"\n{kind} ({len(findings)})" if is_fault else f"\nremark: {kind} ({len(findings)})"
        console.print(Text(title, style="bold red" if is_fault else "bold"))
        shown = findings if is_fault else findings[:REMARKS_SHOWN]
        for finding in shown:
            said = f"  {printable(finding.path)} {one_line(finding.message)}"
            console.print(Text(said))
        if len(shown) < len(findings):
            console.print(f"  and {len(findings) - len(shown)} more: json=<file> has all")
    if examination.findings:
        table = Table("kind", "class", "", title="Summary", title_justify="left")
        for (kind, name, fault), count in counts_by_kind(examination).items():
            table.add_row(Text(kind), Text(name or "-"), f"{count}{'' if fault else ' (remark)'}")
        console.print()
        console.print(table)
    examined = (
        f"{examination.images} images and {examination.masks} masks"
        f" (classes: {examination.classes})"
    )
    faults = len(examination.faults)
    verdict = f"Faults: {faults}, in" if faults else "The set is sound: no fault in"
    console.print(f"{verdict} {examined}.")


def counts_by_kind(examination: Examination) -> Counter[tuple[str, str, bool]]:
    """How often each kind was found in each class, and whether it is a fault."""
    return Counter((f.kind, f.class_name, f.fault) for f in examination.findings)


def write_json(examination: Examination, data: AnomalyDataModule, path: Path) -> None:
    """Write everything found into a JSON file, whole or not at all."""
    content = {
        "set": data.set_name,
        "root": printable(data.root),
        "sound": not examination.faults,
        "classes": examination.classes,
        "images": examination.images,
        "masks": examination.masks,
        "summary": [
            {"kind": kind, "class": name, "fault": fault, "count": count}
            for (kind, name, fault), count in counts_by_kind(examination).items()
        ],
        "findings": [
            {
                "kind": finding.kind,
                "path": printable(finding.path),
                "message": one_line(finding.message),
                "class": finding.class_name,
                "fault": finding.fault,
            }
            for finding in examination.findings
        ],
    }
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def one_line(message: str) -> str:
    """A message as one line, whatever names stand in it."""
    return printable_text(message).replace("\n", "\\n")
