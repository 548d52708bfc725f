"""Runs kept going, and files whole."""
