"""What every peer's process does: prepare once, then measure whenever it is told to.

The process says `{"ready": ...}` or `{"error": ...}` in one line. Each line it reads is a number
of seconds; it repeats its work for about as long and answers with the seconds of every
repetition. Between turns it sleeps, so that only one contender computes at a time.
"""

import json
import os
import statistics
import sys
import time
import traceback


def peak_megabytes():
    """The most memory this process has held, or None where the system does not say."""
    try:
        with open("/proc/self/status") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024 / 1e6
    except OSError:
        pass
    if sys.platform == "darwin":
        # There in bytes. On Linux it would also count whoever started this process.
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return None


def serve(prepare):
    """Runs a peer. `prepare(spec)` gives a function that does the work once, and a description;
    a function that returns a number has timed itself, in seconds."""
    # Libraries print to standard output as they like; answers go where they cannot.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr

    def answer(**fields):
        print(json.dumps(fields), file=answers, flush=True)

    try:
        spec = json.loads(sys.argv[1])
        work, what = prepare(spec)

        def timed():
            start = time.perf_counter()
            own = work()
            return own if isinstance(own, float) else time.perf_counter() - start

        # The first repetitions compile, touch memory and warm the clock.
        first = timed()
        for _ in range(spec.get("warm_up", 2)):
            timed()
        answer(ready=what, first_s=first)
        for line in sys.stdin:
            until = time.perf_counter() + float(line)
            times = [timed()]
            # Another repetition only if it is likely to fit.
            while time.perf_counter() + statistics.median(times) <= until:
                times.append(timed())
            answer(times=times, peak_mb=peak_megabytes())
    except Exception as error:
        traceback.print_exc()
        answer(error=f"{type(error).__name__}: {error}".strip()[:300])
