"""What each summary is called where it is folded up."""

from collections.abc import Sequence

from adpt.page.markup import Markup, tag
from adpt.results import Summary


def titles(summaries: Sequence[Summary]) -> list[Markup]:
    """A `summary` element each: data set and method, and the setting where settings differ."""
    differ = len({summary.setting for summary in summaries}) > 1
    return [
        tag(
            "summary",
            f"{summary.dataset} · {summary.name}",
            *([" ", tag("small", summary.setting)] if differ else []),
        )
        for summary in summaries
    ]
