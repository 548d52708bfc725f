"""What the authors' code does, step by step, in our own words.

Plain, without a thought of speed. The benchmarks hold the project's speed against it, the tests its
results.
"""
