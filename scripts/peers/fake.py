"""A peer that only sleeps, for `compare.py --self-test`."""

import os
import time

from worker import serve


def prepare(spec):
    if spec["mode"] == "broken":
        raise ValueError("this peer is broken")
    if spec["mode"] == "crash":
        os._exit(7)
    return lambda: time.sleep(spec["ms"] / 1e3), "a sleeper"


if __name__ == "__main__":
    serve(prepare)
