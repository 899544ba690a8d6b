"""Processes of the contenders, and whose turn it is."""

import json
import os
import select
import signal
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))


class Failed(Exception):
    """Why a contender gave no figure."""


class Anemone:
    """`anemone bench`, a process for each turn."""

    def __init__(self, contender, threads, settings):
        self.contender, self.threads, self.settings = contender, threads, settings
        self.seconds = None
        self.peak_mb = None
        self.what = ""

    def turn(self, seconds):
        c = self.contender
        # The length of a repetition is known after the first turn.
        repeat = 3 if self.seconds is None else round(seconds / self.seconds)
        if c.repeat == "--tokens":
            repeat = 64
        command = [self.settings.anemone, "bench", *c.arguments, c.repeat, str(max(1, min(repeat, 50)))]
        command += ["--threads", str(self.threads), "--json"]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=self.settings.patience
            )
        except OSError as error:
            raise Failed(f"{self.settings.anemone} does not start: {error}") from None
        except subprocess.TimeoutExpired:
            raise Failed(f"no answer in {self.settings.patience:.0f} s") from None
        if done.returncode != 0:
            raise Failed((done.stderr.strip().splitlines() or ["no message"])[-1][:300])
        report = json.loads(done.stdout)
        row = next((r for r in report["rows"] if r["name"] == c.figure and r["unit"] == "ms"), None)
        if row is None:
            raise Failed(f"the report has no row {c.figure!r}")
        peak = next((r["value"] for r in report["rows"] if r["name"] == "peak memory"), None)
        if peak is not None:
            self.peak_mb = max(peak, self.peak_mb or 0.0)
        kernels = [k for r in report["rows"] for k in r.get("kernels", [])]
        self.what = ", ".join(dict.fromkeys(kernels)) or report["settings"].get("kernel", "")
        self.seconds = row["value"] / 1e3
        return self.seconds

    def close(self):
        pass


class Peer:
    """A peer's process, which waits between its turns."""

    def __init__(self, contender, threads, settings):
        self.contender, self.settings = contender, settings
        self.spec = {**contender.spec, "threads": threads, "folder": settings.folder}
        self.threads = threads
        self.process = None
        self.peak_mb = None
        self.what = ""

    def start(self):
        python = self.settings.pythons.get(self.contender.python)
        if not python:
            raise Failed(f"no Python for {self.contender.python} was given")
        program = os.path.join(HERE, f"{self.contender.program}.py")
        # Every process of a peer gets the same number of threads, whichever library starts them.
        environment = {**os.environ, "OMP_NUM_THREADS": str(self.threads)}
        self.log = open(os.path.join(self.settings.folder, "peers.log"), "a")
        try:
            self.process = subprocess.Popen(
                [python, program, json.dumps(self.spec)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.log,
                env=environment,
            )
        except OSError as error:
            raise Failed(f"{python} does not start: {error}") from None
        self.what = self.answer()["ready"]
        self.stop()

    def answer(self):
        """The next line, within the time that contenders have."""
        until, line = time.monotonic() + self.settings.patience, b""
        out = self.process.stdout.fileno()
        while not line.endswith(b"\n"):
            left = until - time.monotonic()
            if left <= 0 or not select.select([out], [], [], left)[0]:
                raise Failed(f"no answer in {self.settings.patience:.0f} s")
            part = os.read(out, 1 << 16)
            if not part:
                raise Failed(f"ended without an answer (exit status {self.process.wait()})")
            line += part
        fields = json.loads(line)
        if "error" in fields:
            raise Failed(fields["error"])
        return fields

    def stop(self):
        """Threads of some libraries spin for minutes when they have nothing to do."""
        self.process.send_signal(signal.SIGSTOP)

    def turn(self, seconds):
        if self.process is None:
            self.start()
        self.process.send_signal(signal.SIGCONT)
        try:
            self.process.stdin.write(f"{seconds}\n".encode())
            self.process.stdin.flush()
        except OSError:
            raise Failed("ended between its turns") from None
        fields = self.answer()
        self.stop()
        if fields["peak_mb"] is not None:
            self.peak_mb = max(fields["peak_mb"], self.peak_mb or 0.0)
        return statistics.median(fields["times"])

    def close(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process.stdin.close()
            self.process.stdout.close()
            self.log.close()
            self.process = None


def measure(group, settings):
    """All turns of a group: a list of what each contender gave."""
    runs = []
    for contender in group.contenders:
        if settings.only_mode and not any(m in contender.name for m in settings.only_mode):
            continue
        kind = Anemone if contender.program == "anemone" else Peer
        for threads in settings.threads:
            runs.append({
                "name": contender.name, "threads": threads, "turns": [], "why": None,
                "process": kind(contender, threads, settings),
            })
    try:
        for round_number in range(settings.rounds):
            for run in runs:
                if run["why"]:
                    continue
                if time.monotonic() > settings.deadline:
                    run["why"] = "the time given for the whole run was over"
                    continue
                if round_number > 0 and group.economize and far_behind(run, runs):
                    run["why"] = "below half of the best of its side in the first round"
                    continue
                say(settings, f"  round {round_number + 1}: {run['name']}, {run['threads']} threads")
                try:
                    run["turns"].append(run["process"].turn(settings.seconds))
                except (Failed, ValueError, KeyError) as error:
                    run["why"] = str(error)
                    run["process"].close()
                    say(settings, f"    {error}")
                if group.fresh:
                    run["process"].close()
    finally:
        for run in runs:
            run["process"].close()
    for run in runs:
        process = run.pop("process")
        run["peak_mb"], run["what"] = process.peak_mb, process.what
        run["rates"] = [group.work / seconds for seconds in run.pop("turns")]
        run["rate"] = statistics.median(run["rates"]) if run["rates"] else None
    return runs


def far_behind(run, runs):
    ours = run["name"].startswith("ours")
    side = [r["turns"][0] for r in runs if r["turns"] and r["name"].startswith("ours") == ours]
    return bool(run["turns"]) and run["turns"][0] > 2.0 * min(side)


def say(settings, text):
    if not settings.quiet:
        print(text, file=sys.stderr, flush=True)
