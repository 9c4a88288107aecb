#!/usr/bin/env python3
"""The NAB score of `learnd eval`: one fixed configuration, value and timestamp only.

    benches/nab.py target/release/learnd

Data: $LEARND_DATA/nab (default ../shared/data/nab). Scorer: $LEARND_TOOLS/nab_score.py (default
../shared/tools). Every file goes through `learnd eval CONFIG FILE --predictions OUT`; the scores of
its score events are given to the scorer, quieted for 120 rows, under each of NAB's profiles. Beside
it the trivial detector "how far the value leaves the range seen so far". NAB's threshold is swept
on the labelled corpus, so its figures say less than they seem to (Wu & Keogh 2021).
Standard library only.
"""
import csv
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SHARED = os.path.join(os.path.dirname(os.path.dirname(HERE)), "shared")
ROOT = os.path.join(os.environ.get("LEARND_DATA", os.path.join(SHARED, "data")), "nab")
TOOLS = os.environ.get("LEARND_TOOLS", os.path.join(SHARED, "tools"))
PROFILES = ["standard", "reward_low_FP_rate", "reward_low_FN_rate"]
CONFIG = """
[sources.metric]
type = "stdin"
format = "csv"

[models.nab]
task = "anomaly"
time = "timestamp"
features = ["value"]
detector = { type = "auto" }
"""


def learnd(binary, config, path, work):
    """The scores of one file, one a row."""
    out = os.path.join(work, "events.jsonl")
    subprocess.run([binary, "eval", config, path, "--predictions", out, "--json"],
                   check=True, stdout=subprocess.DEVNULL)
    with open(out) as f:
        events = [json.loads(line) for line in f]
    os.remove(out)
    return [e["score"] for e in events if e["event"] == "score"]


def range_only(path):
    """How far each value leaves the range seen so far."""
    with open(path, newline="") as f:
        values = [float(r["value"]) for r in csv.DictReader(f)]
    low = high = values[0]
    scores = []
    for x in values:
        beyond = max(x - high, low - x, 0.0)
        scores.append(beyond / (high - low + beyond) if high > low else 0.0)
        low, high = min(low, x), max(high, x)
    return scores


def write(folder, name, scores):
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write("anomaly_score\n")
        f.writelines(f"{s!r}\n" for s in scores)


def score(folder, profile):
    run = subprocess.run(
        [sys.executable, os.path.join(TOOLS, "nab_score.py"), ROOT, folder, "--profile", profile, "--quiet", "120"],
        check=True, capture_output=True, text=True)
    return json.loads(run.stdout)["normalised"]


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    if not os.path.isdir(ROOT):
        sys.exit(f"no NAB data at {ROOT} (LEARND_DATA)")
    with open(os.path.join(ROOT, "labels", "combined_windows.json")) as f:
        names = sorted(json.load(f))
    with tempfile.TemporaryDirectory() as work:
        config = os.path.join(work, "nab.toml")
        with open(config, "w") as f:
            f.write(CONFIG)
        for name in names:
            path = os.path.join(ROOT, "data", name)
            write(os.path.join(work, "learnd"), name, learnd(sys.argv[1], config, path, work))
            write(os.path.join(work, "range only"), name, range_only(path))
        print(f"NAB, {len(names)} files, quieted for 120 rows")
        print(f"{'detector':<12}" + "".join(f"{p:>22}" for p in PROFILES))
        for detector in ["learnd", "range only"]:
            cells = [score(os.path.join(work, detector), p) for p in PROFILES]
            print(f"{detector:<12}" + "".join(f"{c:>22.2f}" for c in cells))


if __name__ == "__main__":
    main()
