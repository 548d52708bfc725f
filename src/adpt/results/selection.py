"""The choice of recorded results that a report is of."""

from collections.abc import Sequence

from adpt.errors import UserError
from adpt.results.metric_names import recorded
from adpt.results.record import Record


def select(
    records: Sequence[Record],
    protocol: str | None = None,
    datasets: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    backbones: Sequence[str] | None = None,
) -> list[Record]:
    """The records of this protocol, these data sets, methods and backbones; None for any.

    Raises:
        UserError: A name that no record has, or nothing is left.
    """
    found = list(records)
    for option, field, wanted in (
        ("protocol", "protocol", None if protocol is None else [protocol]),
        ("datasets", "dataset", datasets),
        ("methods", "method", methods),
        ("backbones", "backbone", backbones),
    ):
        if wanted is None:
            continue
        recorded = sorted({getattr(record, field) for record in records})
        unknown = [name for name in wanted if name not in recorded]
        if unknown or not wanted:
            given = wanted[0] if option == "protocol" else f"[{','.join(wanted)}]"
            raise UserError(f"{option}={given}: these results are of {', '.join(recorded)}.")
        found = [record for record in found if getattr(record, field) in wanted]
    if records and not found:
        raise UserError(
            "No result is left: none has this protocol, data set, method and backbone at once."
            " Leave one of protocol, datasets, methods and backbones out."
        )
    return found


def check_metrics(metrics: Sequence[str], records: Sequence[Record]) -> None:
    """Refuse metrics that no record holds.

    Raises:
        UserError: There are such, or none are given.
    """
    known = recorded(record.metrics for record in records)
    unknown = [metric for metric in metrics if metric not in known]
    if unknown or not metrics:
        names = ", ".join(known)
        raise UserError(f"metrics=[{','.join(metrics)}]: choose some of {names}.")
