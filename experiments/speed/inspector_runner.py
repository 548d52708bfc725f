"""`adpt.predict` on several folders in one process, for parts/scoring.py: a JSON job.

The job is {"inspector", "output", "cells": [{"images", "batch", "heatmaps"}, ...]}; the
first cell warms up. Prints CPU seconds, seconds of the clock and pages that the kernel mapped of
each, a picture, as JSON.
"""

import json
import resource
import sys
import time


def costs() -> tuple[float, float, float]:
    """CPU seconds, seconds of the clock and mapped pages of this process until now."""
    pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    return time.process_time(), time.perf_counter(), pages


def main() -> None:
    """Do what the command does, less its start."""
    from hydra import compose, initialize_config_dir

    from adpt.inspection.answers import score_and_write
    from adpt.inspection.command import images_of, load_inspectors
    from adpt.running.memory import keep_freed_memory
    from adpt.running.paths import conf_dir

    keep_freed_memory()
    job = json.loads(sys.argv[1])
    found = []
    for number, cell in enumerate(job["cells"]):
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            config = compose(
                "predict",
                [
                    f"inspector={job['inspector']}",
                    f"images={cell['images']}",
                    f"batch_size={cell['batch']}",
                    f"heatmaps={'all' if cell['heatmaps'] else 'none'}",
                    f"output_dir={job['output']}/{number}",
                ],
            )
        products = load_inspectors(config)
        paths = images_of(config)
        start = costs()
        score_and_write(products, paths, config)
        ends = costs()
        found.append([(end - begin) / len(paths) for begin, end in zip(start, ends, strict=True)])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
