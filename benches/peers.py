#!/usr/bin/env python3
"""learnd beside Vowpal Wabbit and River on real streams, nothing tuned per set.

    cargo build --release
    python3 benches/peers.py [--check] [--learnd target/release/learnd] [SET...]

Makes a virtual environment in target/peers with `vowpalwabbit` and `river` from PyPI, runs one
progressive pass (predict, score, then learn) of each over the same records in the same order, and
prints a Markdown table. The data is in $LEARND_DATA, or ../shared/data beside the repository.

- Vowpal Wabbit: its defaults; `--loss_function logistic` for the binary sets.
- River: StandardScaler | LogisticRegression; StandardScaler | LinearRegression inside a
  TargetStandardScaler for the regression sets.
- "same as last" and "constant" (the mean, or the share of the classes, of what came before).

The loss is the mean log-loss in nats, or the mean squared error in the label's own unit.
With --check, exits 1 unless every bound of BOUNDS holds.
"""

import argparse
import csv
import gzip
import json
import math
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("LEARND_DATA") or ROOT.parent / "shared" / "data")
PEERS = ROOT / "target" / "peers"
PACKAGES = ["vowpalwabbit==9.11.9", "river==0.26.1"]

# name: (file, label, task, columns left out)
SETS = {
    "elec": ("streams/elec.csv.gz", "class", "binary", []),
    "phishing": ("streams/phishing.csv.gz", "target", "binary", []),
    "sea_stream": ("streams/sea_stream.csv.gz", "class", "binary", []),
    "bike_hour": ("regression/bike_hour.csv.gz", "cnt", "regression", ["casual", "registered", "instant", "dteday"]),
    "power_plant": ("regression/power_plant.csv.gz", "PE", "regression", []),
}

# Smallest accuracy, largest loss, largest share of the better peer's loss.
BOUNDS = {
    "elec": {"accuracy": 0.90, "loss": 0.25},
    "phishing": {"of_peer": 1.02},
    "sea_stream": {"of_peer": 1.02},
    "bike_hour": {"of_peer": 1.02},
    "power_plant": {"of_peer": 1.02},
}

# Neither 0 nor 1 is ever meant quite literally; every learner's probabilities are read like this.
EDGE = 1e-7


def load(name):
    """The records as lists of numbers (None where missing) and the labels, in order."""
    path, label, _, left_out = SETS[name]
    with gzip.open(DATA / path, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = [c for c in rows[0] if c != label and c not in left_out]
    xs = [[float(r[c]) if r[c] else None for c in columns] for r in rows]
    return columns, xs, [float(r[label]) for r in rows]


class Judge:
    """The loss and its companions of one progressive pass."""

    def __init__(self, task):
        self.binary = task == "binary"
        self.n = self.loss = self.right = self.absolute = 0.0
        self.labels = []

    def add(self, p, y):
        self.n += 1
        self.labels.append(y)
        if self.binary:
            self.right += (p > 0.5) == (y > 0)
            p = min(1 - EDGE, max(EDGE, p))
            self.loss -= math.log(p if y > 0 else 1 - p)
        else:
            self.loss += (p - y) ** 2
            self.absolute += abs(p - y)

    def result(self):
        mean = sum(self.labels) / self.n
        out = {"loss": self.loss / self.n}
        if self.binary:
            out["accuracy"] = self.right / self.n
        else:
            variance = sum((y - mean) ** 2 for y in self.labels) / self.n
            out["mae"] = self.absolute / self.n
            out["r2"] = 1 - out["loss"] / variance
        return out


def baselines(task, ys):
    constant, last = Judge(task), Judge(task)
    total = same = 0.0
    for i, y in enumerate(ys):
        if task == "binary":
            # Smoothed as if one of each had been seen (Laplace); "same as last" is as sure as it was right so far.
            constant.add((total + 1) / (i + 2), y)
            previous = ys[i - 1] if i else 0.0
            sure = max(0.5, (same + 1) / (i + 2))
            last.add(sure if previous > 0 else 1 - sure, y)
            same += previous == y
        else:
            constant.add(total / i if i else 0.0, y)
            last.add(ys[i - 1] if i else 0.0, y)
        total += y
    return constant.result(), last.result()


def run_learnd(binary, name, folder):
    path, label, task, left_out = SETS[name]
    config = folder / f"{name}.toml"
    exclude = f"exclude = {json.dumps(left_out)}\n" if left_out else ""
    config.write_text(
        '[sources.data]\ntype = "stdin"\nformat = "csv"\n\n'
        f'[models.m]\ntask = "{task}"\nlabel = "{label}"\n{exclude}'
    )
    done = subprocess.run(
        [binary, "eval", "--json", config, DATA / path], stdout=subprocess.PIPE, check=True, text=True
    )
    report = json.loads(done.stdout)
    if report["rejected"]:
        raise SystemExit(f"{name}: learnd refused {report['rejected']} lines")
    found = dict(report["models"]["m"]["progressive"])
    if task == "regression":
        # Whatever unit the learner's own loss is in: compare squared errors of the label.
        found["loss"] = found["rmse"] ** 2
    return found


def run_vw(python, task, xs, ys, folder):
    data, out = folder / "vw.txt", folder / "vw.out"
    with open(data, "w") as file:
        for x, y in zip(xs, ys):
            label = ("1" if y > 0 else "-1") if task == "binary" else repr(y)
            file.write(label + " | " + " ".join(f"f{j}:{v!r}" for j, v in enumerate(x) if v is not None) + "\n")
    command = [python, "-m", "vowpalwabbit", "-d", data, "-p", out, "--quiet"]
    if task == "binary":
        command += ["--loss_function", "logistic"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    judge = Judge(task)
    with open(out) as file:
        for line, y in zip(file, ys, strict=True):
            z = float(line)
            if task == "binary":
                z = 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))
            judge.add(z, y)
    return judge.result()


RIVER = """
import json, sys
from river import linear_model, preprocessing
task, path, out = sys.argv[1:]
data = json.load(open(path))
if task == "binary":
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
else:
    model = preprocessing.TargetStandardScaler(preprocessing.StandardScaler() | linear_model.LinearRegression())
with open(out, "w") as file:
    for x, y in zip(data["xs"], data["ys"]):
        x = {j: v for j, v in enumerate(x) if v is not None}
        if task == "binary":
            p = model.predict_proba_one(x).get(True, 0.5)
            model.learn_one(x, y > 0)
        else:
            p = model.predict_one(x)
            model.learn_one(x, y)
        file.write(repr(float(p)) + "\\n")
"""


def run_river(python, task, xs, ys, folder):
    data, out = folder / "river.json", folder / "river.out"
    data.write_text(json.dumps({"xs": xs, "ys": ys}))
    subprocess.run([python, "-W", "ignore", "-c", RIVER, task, data, out], check=True)
    judge = Judge(task)
    with open(out) as file:
        for line, y in zip(file, ys, strict=True):
            p = float(line)
            # A learner that has diverged has lost; keep the sum printable.
            judge.add(p if math.isfinite(p) and abs(p) < 1e150 else 1e150, y)
    return judge.result()


def peers():
    """The interpreter of the virtual environment, made on the first call."""
    python = PEERS / "bin" / "python"
    stamp = PEERS / "installed"
    if not stamp.exists() or stamp.read_text() != "\n".join(PACKAGES):
        print(f"installing {' '.join(PACKAGES)} into {PEERS}", file=sys.stderr)
        venv.create(PEERS, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True, stdout=sys.stderr)
        stamp.write_text("\n".join(PACKAGES))
    return python


def number(x):
    if x is None:
        return ""
    return f"{x:.3g}" if abs(x) >= 1e5 else f"{x:.4f}" if abs(x) < 10 else f"{x:.2f}"


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--check", action="store_true", help="exit 1 if a bound is missed")
    options.add_argument("--learnd", default=os.environ.get("LEARND_BIN") or ROOT / "target/release/learnd")
    options.add_argument("sets", nargs="*", metavar="SET", help=f"of {', '.join(SETS)}; default: all")
    options = options.parse_args()
    for name in options.sets:
        if name not in SETS:
            raise SystemExit(f"no set {name}; there are {', '.join(SETS)}")
    if not DATA.is_dir():
        raise SystemExit(f"no data in {DATA}; set LEARND_DATA")
    python = peers()
    missed = []
    print("| set | records | learner | loss | accuracy | MAE | R² |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for name in options.sets or SETS:
            task = SETS[name][2]
            _, xs, ys = load(name)
            ours = run_learnd(options.learnd, name, folder)
            vw = run_vw(python, task, xs, ys, folder)
            river = run_river(python, task, xs, ys, folder)
            constant, last = baselines(task, ys)
            rows = {"**learnd**": ours, "Vowpal Wabbit": vw, "River": river, "same as last": last, "constant": constant}
            for learner, r in rows.items():
                cells = [number(r.get(k)) for k in ("loss", "accuracy", "mae", "r2")]
                print("|", " | ".join([name, str(len(ys)), learner, *cells]), "|", flush=True)
            bound = BOUNDS[name]
            better = min(vw["loss"], river["loss"])
            if ours["loss"] > bound.get("loss", math.inf):
                missed.append(f"{name}: loss {ours['loss']:.4f} > {bound['loss']}")
            if ours.get("accuracy", 1.0) < bound.get("accuracy", 0.0):
                missed.append(f"{name}: accuracy {ours['accuracy']:.4f} < {bound['accuracy']}")
            if ours["loss"] > bound.get("of_peer", math.inf) * better:
                missed.append(f"{name}: loss {ours['loss']:.4f} > {bound['of_peer']} x the better peer's {better:.4f}")
    for line in missed:
        print("missed:", line, file=sys.stderr)
    if options.check:
        if missed:
            raise SystemExit(1)
        print("every bound holds", file=sys.stderr)


if __name__ == "__main__":
    main()
