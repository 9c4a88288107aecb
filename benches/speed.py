#!/usr/bin/env python3
"""CPU time and memory of `learnd eval` (the race) beside `vw --json` on the same records.

    cargo build --release
    python3 benches/speed.py [--check] [--records 1000000] [--rounds 3] [--learnd target/release/learnd]

Makes (once, from a seed) a file of JSON records of 20 numbers whose label is a linear function of
them plus noise, and runs both over it in turns. Vowpal Wabbit is PyPI's wheel, run as
`python -m vowpalwabbit`: the time that the interpreter takes to start is measured and taken off.
Time is user + system time of all threads. With --check, exits 1 unless learnd needs less of it, and
stays under 64 MiB.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from peers import ROOT, peers  # noqa: E402

NUMBERS = 20
MEMORY_LIMIT = 64 * 2**20


def make(path, records):
    """`{"_label":y,"x0":...}` a line; both programs read the label from `_label`."""
    rng = random.Random(20260101)
    teacher = [rng.gauss(0, 1) for _ in range(NUMBERS)]
    partial = path.with_suffix(".partial")
    with open(partial, "w") as file:
        for _ in range(records):
            x = [round(rng.gauss(0, 1), 6) for _ in range(NUMBERS)]
            y = sum(w * v for w, v in zip(teacher, x)) + rng.gauss(0, 0.5)
            file.write('{"_label":%.6f,' % y + ",".join(f'"x{j}":{v!r}' for j, v in enumerate(x)) + "}\n")
    partial.rename(path)


def measure(command):
    """Seconds of processor time and peak resident bytes of one run, and its standard output.

    A child counts its parent's memory until it becomes another program, so this script stays small.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = subprocess.Popen(command, stdout=out, stderr=err)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            err.seek(0)
            raise SystemExit(f"{command[0]} ended with {child.returncode}:\n{err.read().decode()}")
        out.seek(0)
        return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, out.read().decode()


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--check", action="store_true", help="exit 1 if a bound is missed")
    options.add_argument("--records", type=int, default=1_000_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--learnd", default=os.environ.get("LEARND_BIN") or ROOT / "target/release/learnd")
    options = options.parse_args()

    python = peers()
    folder = ROOT / "target" / "speed"
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / f"linear-{options.records}.jsonl"
    if not data.exists():
        print(f"making {data}", file=sys.stderr)
        make(data, options.records)
    config = folder / "learnd.toml"
    config.write_text(
        '[sources.data]\ntype = "stdin"\nformat = "json"\n\n[models.m]\ntask = "regression"\nlabel = "_label"\n'
    )
    empty = folder / "empty.jsonl"
    empty.write_text("")

    learnd = [str(options.learnd), "eval", "--json", str(config), str(data)]
    vw = [str(python), "-m", "vowpalwabbit", "--json", "--quiet", "-d"]
    # So that the first round reads from memory too.
    subprocess.run(["cat", data], stdout=subprocess.DEVNULL, check=True)
    start = statistics.median(measure([*vw, str(empty)])[0] for _ in range(3))

    ours, theirs, our_peak, their_peak = [], [], 0, 0
    for _ in range(options.rounds):
        seconds, peak, out = measure(learnd)
        ours.append(seconds)
        our_peak = max(our_peak, peak)
        report = json.loads(out)
        seconds, peak, _ = measure([*vw, str(data)])
        theirs.append(seconds - start)
        their_peak = max(their_peak, peak)
    if report["records"] != options.records:
        raise SystemExit(f"learnd read {report['records']} records of {options.records}")

    our, their = statistics.median(ours), statistics.median(theirs)
    size = data.stat().st_size / 2**20
    print("| | CPU seconds (median) | spread | records/s of CPU | peak MiB |")
    print("|---|---|---|---|---|")
    for name, all_, mid, peak in (
        ("learnd eval (race)", ours, our, our_peak),
        ("vw --json (interpreter's start taken off)", theirs, their, their_peak),
    ):
        print(f"| {name} | {mid:.2f} | {min(all_):.2f}..{max(all_):.2f} | {options.records / mid:,.0f} | {peak / 2**20:.1f} |")
    print(
        f"\n{options.records:,} records, {size:.0f} MiB, {options.rounds} rounds in turns; "
        f"learnd takes {our / their:.2f} of the CPU time of vw (start of Python: {start:.2f} s); "
        f"its loss is {report['models']['m']['progressive']['loss']:.4f}, that of the noise 0.25"
    )
    missed = []
    if our >= their:
        missed.append(f"{our:.2f} s of CPU time, vw {their:.2f} s")
    if our_peak >= MEMORY_LIMIT:
        missed.append(f"peak memory {our_peak / 2**20:.1f} MiB")
    for line in missed:
        print("missed:", line, file=sys.stderr)
    if options.check and missed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
