"""Anemone beside PyTorch, llama.cpp and oneDNN: every row of a table, in turns.

    python scripts/peers/compare.py --anemone target/release/anemone \\
        --torch-python PYTHON --llama-python PYTHON [--quick] [--json FILE]

Contenders of a row take turns, A B A B, in one run, so that whatever else the machine does
falls on all of them; a ratio is the median of the rounds' ratios. See README.md beside this file.
"""

import argparse
import json
import os
import platform
import signal
import statistics
import sys
import tempfile
import time

import rows
import turns


def best(runs, names):
    """The fastest of those that have figures."""
    able = [run for run in runs if run["name"] in names and run["rate"]]
    return max(able, key=lambda run: run["rate"], default=None)


def judge(claim, runs):
    """A claim with its figure, or with the reason why there is none."""
    ours, theirs = best(runs, claim.ours), best(runs, claim.theirs)
    result = {"title": claim.title, "of": claim.of, "target": claim.at_least, "value": None}
    for side, run, names in (("ours", ours, claim.ours), ("theirs", theirs, claim.theirs)):
        result[side] = None if run is None else f"{run['name']}, {run['threads']} threads"
        if run is None:
            whys = {f"{r['name']}: {r['why']}" for r in runs if r["name"] in names and r["why"]}
            result["why"] = "; ".join(sorted(whys)) or "not measured"
    if ours is None or (theirs is None and claim.of != "memory"):
        return result
    if claim.of == "rate":
        ratios = [a / b for a, b in zip(ours["rates"], theirs["rates"])]
        result["value"], result["ratios"] = statistics.median(ratios), ratios
        result["met"] = result["value"] >= claim.at_least if claim.at_least else None
        return result
    result["ours_mb"], result["theirs_mb"] = ours["peak_mb"], theirs and theirs["peak_mb"]
    if claim.of == "memory":
        result["value"] = ours["peak_mb"]
    elif ours["peak_mb"] and theirs["peak_mb"]:
        result["value"] = ours["peak_mb"] / theirs["peak_mb"]
    if result["value"] is None:
        result["why"] = "the system does not say how much memory a process holds"
    else:
        result["met"] = result["value"] <= claim.at_least
    return result


def number(value, digits=1):
    return "" if value is None else f"{value:.{digits}f}"


def markdown(report):
    """The report for people."""
    quick = ", quick: figures are rough" if report["quick"] else ""
    lines = [f"{report['machine']}, {report['rounds']} rounds{quick}", ""]
    lines += ["| claim | ours | peer | figure | rounds | asked for | |", "|---|---|---|---|---|---|---|"]
    for group in report["groups"]:
        for c in group["claims"]:
            kind = ">=" if c["of"] == "rate" else "<="
            asked = f"{kind} {c['target']:g}" if c["target"] else ""
            met = {True: "met", False: "not met", None: ""}[c.get("met")]
            spread = " ".join(number(r, 2) for r in c.get("ratios", []))
            if c["of"] != "rate" and c["value"] is not None:
                spread = f"{number(c['ours_mb'], 0)} and {number(c['theirs_mb'], 0)} MB"
            digits = 0 if c["of"] == "memory" else 2
            lines.append(
                f"| {group['title']}: {c['title']} | {c['ours'] or ''} | {c['theirs'] or ''} | "
                f"{number(c['value'], digits)} | {spread} | {asked} | {met or c.get('why', '')} |"
            )
    for group in report["groups"]:
        lines += ["", f"### {group['title']}", ""]
        lines += [f"| | threads | {group['unit']} | rounds | peak MB | |", "|---|---|---|---|---|---|"]
        for r in group["runs"]:
            rates = " ".join(number(rate) for rate in r["rates"])
            note = "; ".join(x for x in (r["what"], r["why"]) if x)
            lines.append(
                f"| {r['name']} | {r['threads']} | {number(r['rate'])} | {rates} | "
                f"{number(r['peak_mb'], 0)} | {note} |"
            )
    return "\n".join(lines) + "\n"


def processor():
    try:
        with open("/proc/cpuinfo") as cpuinfo:
            names = [line.split(":")[1].strip() for line in cpuinfo if line.startswith("model name")]
        return f"{names[0]}, {len(names)} threads"
    except (OSError, IndexError):
        return f"{platform.machine()}, {os.cpu_count()} threads"


def run(settings):
    """Measures all groups that were asked for, writing the report after each."""
    report = {"machine": processor(), "quick": settings.quick, "rounds": settings.rounds, "groups": []}
    start = time.monotonic()
    for group in rows.groups(settings.model):
        if settings.only and group.key not in settings.only:
            continue
        turns.say(settings, f"{group.key}, {time.monotonic() - start:.0f} s after the start")
        runs = turns.measure(group, settings)
        claims = [judge(claim, runs) for claim in group.claims]
        report["groups"].append({
            "key": group.key, "title": group.title, "unit": group.unit, "runs": runs, "claims": claims,
        })
        report["seconds"] = time.monotonic() - start
        if settings.json:
            with open(settings.json, "w") as file:
                json.dump(report, file, indent=1)
    return report


def arguments(words):
    keys = [group.key for group in rows.groups()]
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--anemone", default=os.environ.get("ANEMONE", "target/release/anemone"),
                   help="the program [ANEMONE]")
    p.add_argument("--torch-python", default=os.environ.get("TORCH_PYTHON"), metavar="PYTHON",
                   help="an interpreter that has torch [TORCH_PYTHON]")
    p.add_argument("--llama-python", default=os.environ.get("LLAMA_PYTHON"), metavar="PYTHON",
                   help="an interpreter that has llama-cpp-python and gguf [LLAMA_PYTHON]")
    p.add_argument("--rows", "--only", metavar="NAME,...", type=lambda x: x.split(","), default=[],
                   dest="only", help=f"some rows: {', '.join(keys)}")
    p.add_argument("--contenders", metavar="WORD,...", type=lambda x: x.split(","), default=[],
                   dest="only_mode", help="only contenders whose name has one of these words")
    p.add_argument("--threads", metavar="N,...", default=str(os.cpu_count()),
                   help="thread counts; the best of each side is compared [all]")
    p.add_argument("--rounds", type=int, help="turns of each contender [3, quick 2]")
    p.add_argument("--seconds", type=float, help="length of a turn [4, quick 1]")
    p.add_argument("--limit", type=float, metavar="MINUTES", help="start no turn after [24, quick 5.5]")
    p.add_argument("--patience", type=float, default=180.0, metavar="SECONDS",
                   help="how long a contender may take to answer")
    p.add_argument("--quick", action="store_true", help="the rows without large models, shortly")
    p.add_argument("--model", default="", help="another model for all rows that have one, such as tiny")
    p.add_argument("--folder", help="where written models are kept [a temporary folder]")
    p.add_argument("--json", metavar="FILE", help="also write everything that was measured")
    p.add_argument("--quiet", action="store_true", help="do not say what is being measured")
    p.add_argument("--self-test", action="store_true", help="test this script with peers that only sleep")
    settings = p.parse_args(words)
    if wrong := sorted(set(settings.only) - set(keys)):
        p.error(f"there is no row {wrong[0]}; rows are {', '.join(keys)}")
    try:
        settings.threads = [int(n) for n in settings.threads.split(",")]
    except ValueError:
        p.error(f"--threads takes numbers, not {settings.threads!r}")
    if min(settings.threads) < 1:
        p.error("a contender has at least one thread")
    if settings.quick and not settings.only:
        settings.only = ["decode", "prefill", "conv-64", "train-1"]
    settings.rounds = settings.rounds or (2 if settings.quick else 3)
    settings.seconds = settings.seconds or (1.0 if settings.quick else 4.0)
    limit = settings.limit or (5.5 if settings.quick else 24.0)
    settings.deadline = time.monotonic() + 60.0 * limit
    settings.pythons = {"torch": settings.torch_python, "llama": settings.llama_python}
    return settings


def main(words):
    settings = arguments(words)
    if settings.self_test:
        import self_test

        return self_test.run()
    # Peers that are stopped would outlive a script that ends without its `finally`.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory() as folder:
        settings.folder = settings.folder or folder
        os.makedirs(settings.folder, exist_ok=True)
        print(markdown(run(settings)), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
