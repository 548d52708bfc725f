"""What the authors' code does, step by step, in our own words.

Slow on purpose. The benchmarks hold the project's speed against it, the tests its results.
"""
