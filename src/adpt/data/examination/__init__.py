"""Examining a data set before it is used: every fault at once, where `setup` stops at the first."""

from adpt.data.examination.examine import Examination, examine
from adpt.data.finding import Finding

__all__ = ["Examination", "Finding", "examine"]
