"""From the command line to objects: options and their checks, sweeps, messages."""
