"""What `compare.py --self-test` does: turns, failures and the table, with peers that sleep."""

import os
import py_compile
import sys
import tempfile
import time
from types import SimpleNamespace

import compare
import rows
import turns


def fake(name, mode="sleep", ms=4.0):
    return rows.Contender(name, "fake", spec={"mode": mode, "ms": ms, "warm_up": 0})


def run():
    here = os.path.dirname(os.path.abspath(__file__))
    with tempfile.TemporaryDirectory() as folder:
        for name in sorted(os.listdir(here)):
            if name.endswith(".py"):
                py_compile.compile(
                    os.path.join(here, name), cfile=os.path.join(folder, "x.pyc"), doraise=True
                )
        for group in rows.groups():
            names = [contender.name for contender in group.contenders]
            assert len(set(names)) == len(names), f"{group.key} has a name twice"
            for claim in group.claims:
                for name in claim.ours + claim.theirs:
                    asked = name in names or group.key in ("train-8", "qwen3")
                    assert asked, f"{group.key}: a claim names {name!r}"
        settings = SimpleNamespace(
            anemone=os.path.join(folder, "absent"), pythons={"torch": sys.executable}, folder=folder,
            threads=[1], rounds=2, seconds=0.02, patience=30.0, deadline=time.monotonic() + 60.0,
            quiet=True, only_mode=[],
        )
        absent = fake("absent")
        absent.python = "llama"
        contenders = [
            fake("ours", ms=4.0), fake("theirs", ms=40.0), fake("broken", "broken"),
            fake("crash", "crash"), absent, rows.Contender("anemone", "anemone", ["train"]),
        ]
        claims = [
            rows.Claim("faster", ["ours"], ["theirs", "broken"], 1.5),
            rows.Claim("broken", ["ours"], ["broken", "crash", "absent"], 1.0),
            rows.Claim("no program", ["anemone"], ["theirs"], 1.0),
            rows.Claim("memory", ["ours"], ["theirs"], 1e6, "memory"),
        ]
        group = rows.Group("fake", "sleeping", 2.0, "naps/s", contenders, claims)
        runs = turns.measure(group, settings)
        judged = [compare.judge(claim, runs) for claim in claims]
    by_name = {r["name"]: r for r in runs}
    assert len(by_name["ours"]["rates"]) == 2, by_name
    assert by_name["broken"]["why"] == "ValueError: this peer is broken", by_name
    assert "exit status 7" in by_name["crash"]["why"], by_name
    assert "no Python for llama" in by_name["absent"]["why"], by_name
    assert "does not start" in by_name["anemone"]["why"], by_name
    # Ten times as long a nap; a busy machine may stretch the short one fivefold.
    assert judged[0]["value"] > 2.0 and judged[0]["met"], judged
    assert judged[1]["value"] is None and "this peer is broken" in judged[1]["why"], judged
    assert judged[2]["value"] is None and "does not start" in judged[2]["why"], judged
    entry = {"title": "sleeping", "unit": "naps/s", "runs": runs, "claims": judged}
    text = compare.markdown({"machine": "here", "quick": True, "rounds": 2, "groups": [entry]})
    assert "| met |" in text and "this peer is broken" in text, text
    print("the self-test passed")
    return 0
