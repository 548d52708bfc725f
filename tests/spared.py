"""What a worker of a test does: alone here, for a spawned one imports all that stands beside it."""

import multiprocessing.synchronize
import time

from adpt.running.interruption import spare_worker


def wait(ready: multiprocessing.synchronize.Event) -> None:
    spare_worker()
    ready.set()
    time.sleep(60)
