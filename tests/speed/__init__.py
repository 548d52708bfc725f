"""Ours against the literal versions of the benchmarks, small."""
