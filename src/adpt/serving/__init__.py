"""Inspectors over HTTP: pictures in, verdicts out. Needs the extra `adpt[serve]`."""
