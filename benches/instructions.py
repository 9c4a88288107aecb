#!/usr/bin/env python3
"""Instructions a record takes, compared with the committed baseline (benches/instructions.json).

    cargo build --release
    python3 benches/instructions.py [--check] [--write] [--learnd target/release/learnd] [ROW...]
    python3 benches/instructions.py --linear [--records 100000,1000000] [ROW...]

Wall time on a shared machine is noise; the number of instructions is nearly the same each time
(callgrind counts them, of all threads). Each row runs `learnd eval` over the first 2,000 and the
first 12,000 records of a seeded stream: the difference, divided by 10,000, is what a record takes,
and what it takes to start drops out. With --check, exits 1 if a row takes over 5 % more than the
baseline; if one takes over 5 % less, it says how to write the new baseline. The counts depend on
the compiler and on how the binary was built, so both are kept beside them and a difference is told.

With --linear the runs are longer and compared with each other: a record of the longer run may take
at most 2 % more than one of the shorter. (Two rows unless others are named: callgrind runs some
fifty times slower than the processor, and a million records take minutes.)
"""

import argparse
import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import streams  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
BASELINE = Path(__file__).resolve().with_suffix(".json")
FEW, MANY = 2_000, 12_000
# Threads that wait for each other spin a little, more on a busy machine: up to 2 % were seen.
TOLERANCE = 0.05
LINEAR_TOLERANCE = 0.02

VW = 'learner = { type = "linear", optimizer = "vw" }\n'
LABEL = 'label = "_label"\n'

# name: (stream, format, model, further arguments of eval)
ROWS = {
    "vw-dense": ("dense", "vw", 'task = "regression"\n' + VW, []),
    "json-dense": ("dense", "json", 'task = "regression"\n' + LABEL + VW, []),
    "json-dense-race": ("dense", "json", 'task = "regression"\n' + LABEL, []),
    "json-sparse": ("sparse", "json", 'task = "binary"\n' + LABEL + VW, []),
    "vw-sparse": ("sparse", "vw", 'task = "binary"\n' + VW, []),
    "csv-dense": ("dense", "csv", 'task = "regression"\n' + LABEL + VW, []),
    "predictions": ("dense", "vw", 'task = "regression"\n' + VW, ["--predictions", os.devnull]),
    "gauss": (
        "dense", "json",
        'task = "anomaly"\nexclude = ["_label"]\ndetector = { type = "gauss" }\nbudget = "1/1000 records"\n', [],
    ),
}


def count(learnd, name, records, folder):
    """Instructions of one whole run over the first `records` records."""
    stream, form, model, arguments = ROWS[name]
    data = streams.write(folder, stream, records)[form]
    config = folder / f"{name}.toml"
    with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as file:
        file.write(f'[sources.data]\ntype = "stdin"\nformat = "{form}"\n[models.m]\n{model}')
    os.replace(file.name, config)
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", f"--callgrind-out-file={os.devnull}",
         str(learnd), "eval", "--json", str(config), str(data), *arguments],
        capture_output=True, text=True)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not found:
        raise SystemExit(f"{name}: valgrind ended with {done.returncode}:\n{done.stderr}")
    read = json.loads(done.stdout)["records"]
    if read != records:
        raise SystemExit(f"{name}: learnd read {read} records of {records}")
    return int(found.group(1))


def measure(learnd, names, sizes, folder):
    """{name: instructions of the run over so many records, one a size}, on all processors."""
    for stream in {ROWS[name][0] for name in names}:
        for size in sizes:
            streams.write(folder, stream, size)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        # The longest first, so that no processor waits for another at the end.
        jobs = {
            (name, size): pool.submit(count, learnd, name, size, folder)
            for size in sorted(sizes, reverse=True) for name in names
        }
        return {name: [jobs[name, size].result() for size in sizes] for name in names}


def compilers(learnd):
    """The compiler of this environment, and how the binary under test was built as far as its folder says."""
    rustc = subprocess.run(["rustc", "-V"], capture_output=True, text=True, cwd=ROOT).stdout.strip()
    return {"rustc": rustc, "profile": Path(learnd).resolve().parent.name}


def compare(learnd, names, options, folder):
    counts = measure(learnd, names, [FEW, MANY], folder)
    now = {name: round((many - few) / (MANY - FEW)) for name, (few, many) in counts.items()}
    kept = json.loads(BASELINE.read_text()) if BASELINE.exists() else {"instructions": {}}
    built = compilers(learnd)
    for key, value in built.items():
        if kept.get(key) not in (None, value):
            print(f"note: the baseline was counted with {key} `{kept[key]}`, this is `{value}`: "
                  "a difference may be the compiler's", file=sys.stderr)

    slower, faster = [], []
    print("| row | instructions a record | baseline | change |")
    print("|---|---|---|---|")
    for name, n in now.items():
        base = kept["instructions"].get(name)
        change = n / base - 1 if base else 0.0
        print(f"| {name} | {n:,} | {f'{base:,} | {change:+.1%}' if base else '— | new'} |")
        if base and change > TOLERANCE:
            slower.append(f"{name}: {n:,} instructions a record, baseline {base:,} ({change:+.1%})")
        if not base or change < -TOLERANCE:
            faster.append(name)
    if options.write:
        kept = {**built, "instructions": {**kept["instructions"], **now}}
        BASELINE.write_text(json.dumps(kept, indent=2) + "\n")
        print(f"wrote {BASELINE.relative_to(ROOT)}", file=sys.stderr)
        return
    for line in slower:
        print("missed:", line, file=sys.stderr)
    if faster:
        print(f"{', '.join(faster)}: over {TOLERANCE:.0%} better or new; keep it: "
              "python3 benches/instructions.py --write", file=sys.stderr)
    if slower:
        print("if this is meant: python3 benches/instructions.py --write, and say why in the change", file=sys.stderr)
        if options.check:
            raise SystemExit(1)


def linear(learnd, names, options, folder):
    """The mean of a long run against that of a short one, the start taken off both."""
    short, long = (int(size) for size in options.records.split(","))
    if not FEW < short < long:
        raise SystemExit(f"--records: two numbers, the smaller first, both over {FEW}")
    counts = measure(learnd, names, [FEW, short, long], folder)
    missed = []
    print(f"| row | instructions a record up to {short:,} | up to {long:,} | change |")
    print("|---|---|---|---|")
    for name, (few, middle, many) in counts.items():
        early, late = (middle - few) / (short - FEW), (many - few) / (long - FEW)
        change = late / early - 1
        print(f"| {name} | {early:,.0f} | {late:,.0f} | {change:+.2%} |")
        if change > LINEAR_TOLERANCE:
            missed.append(f"{name}: {change:+.2%} from {short:,} to {long:,} records")
    for line in missed:
        print("missed:", line, file=sys.stderr)
    if options.check and missed:
        raise SystemExit(1)


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    options.add_argument("--check", action="store_true", help="exit 1 if a bound is missed")
    options.add_argument("--write", action="store_true", help="write the counts as the new baseline")
    options.add_argument("--linear", action="store_true", help="compare long runs with short ones instead")
    options.add_argument("--records", default="100000,1000000", help="the two lengths of --linear")
    options.add_argument("--learnd", default=os.environ.get("LEARND_BIN") or ROOT / "target/release/learnd")
    options = options.parse_args()
    for name in options.rows:
        if name not in ROWS:
            raise SystemExit(f"no row {name}; there are {', '.join(ROWS)}")
    if not shutil.which("valgrind"):
        print("left out: valgrind is not installed, instructions are not counted")
        return
    folder = ROOT / "target" / "instructions"
    folder.mkdir(parents=True, exist_ok=True)
    names = options.rows or (["vw-dense", "json-dense"] if options.linear else list(ROWS))
    (linear if options.linear else compare)(options.learnd, names, options, folder)


if __name__ == "__main__":
    main()
