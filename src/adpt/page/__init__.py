"""One self-contained HTML page of recorded results."""

from adpt.page.build import build_page

__all__ = ["build_page"]
