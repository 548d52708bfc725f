"""The version of adpt."""

__version__ = "0.1.0"
