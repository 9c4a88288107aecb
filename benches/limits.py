#!/usr/bin/env python3
"""The speed and the footprint that learnd keeps, beside what benches/suite.py compares with Vowpal Wabbit.

    cargo build --release --bin learnd --example bench-tools
    python3 benches/limits.py [--check] [--records 200000] [--rounds 5] [ROW...]

Prints one Markdown table; with --check, exits 1 unless every bound holds. Rates are records per CPU
second of all threads, taken in turns in the same run; only their ratios mean anything on a shared
machine. The peers come from PyPI (River, krcf) and read the same CSV file as learnd does.
`large` takes `--large 100000000`, `linear` takes `--linear 1000000,10000000` when there is time.
"""

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import instructions  # noqa: E402
import streams  # noqa: E402
from peers import ROOT, peers  # noqa: E402
from suite import CONNECTIONS, VW_LEARNER, config, free_port, measure, wait_port  # noqa: E402

LABEL = 'label = "_label"\n'
GAUSS = 'task = "anomaly"\nexclude = ["_label"]\ndetector = { type = "gauss" }\nbudget = "1/1000 records"\n'
PACKAGES = ["krcf==0.4.0"]

# What each peer does with a file, all of it but its imports timed: a record is read, predicted, learned.
PEER = '''
import csv, itertools, sys, time
which, path, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
names = [f"x{j}" for j in range(20)]
if which.startswith("river"):
    from river import anomaly, linear_model, preprocessing, stream
    converters = {"_label": float, **dict.fromkeys(names, float)}
else:
    import krcf
began = time.process_time()
if which == "krcf":
    model = krcf.RandomCutForest({"dimensions": 20, "shingle_size": 1, "random_seed": 1,
                                  "parallel_execution_enabled": False})
    with open(path, newline="") as file:
        for row in itertools.islice(csv.reader(file), 1, n + 1):
            x = list(map(float, row[1:]))
            model.score(x)
            model.update(x)
else:
    rows = itertools.islice(stream.iter_csv(path, target="_label", converters=converters), n)
    if which == "river-linear":
        model = preprocessing.StandardScaler() | linear_model.LinearRegression()
        for x, y in rows:
            model.predict_one(x)
            model.learn_one(x, y)
    elif which == "river-logistic":
        model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
        for x, y in rows:
            model.predict_proba_one(x)
            model.learn_one(x, y > 0)
    else:
        # Told the range, it needs no scaler before it.
        model = anomaly.HalfSpaceTrees(limits=dict.fromkeys(names, (-5, 5)), seed=1)
        for x, _ in rows:
            model.score_one(x)
            model.learn_one(x)
print(n / (time.process_time() - began))
'''

# row: (title, records given to the peer, format of learnd and of the peer, model of learnd, least ratio)
PEERS = {
    "river-linear": ("River, StandardScaler, LinearRegression", 20_000, "csv", 'task = "regression"\n' + LABEL, 40),
    "river-logistic": (
        "River, StandardScaler, LogisticRegression", 20_000, "sign.csv", 'task = "binary"\n' + LABEL, 40,
    ),
    "river-trees": ("River's HalfSpaceTrees, beside `gauss`", 10_000, "csv", GAUSS, 20),
    "krcf": ("krcf (RandomCutForest), beside `gauss`", 10_000, "csv", GAUSS, 50),
}


class Bench:
    """What the rows need, and the table they fill."""

    def __init__(self, options):
        self.options = options
        self.folder = ROOT / "target" / "suite"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.tools = options.tools or Path(options.learnd).parent / "examples" / "bench-tools"
        self.missed = []

    def tool(self, *arguments):
        """The answer of one of benches/tools."""
        if not os.access(self.tools, os.X_OK):
            raise SystemExit(f"no {self.tools}: cargo build --release --example bench-tools")
        done = subprocess.run([self.tools, *map(str, arguments)], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"bench-tools {arguments[0]}: {done.stderr}")
        return json.loads(done.stdout)

    def data(self, form, kind="dense"):
        return streams.write(self.folder, kind, self.options.records)[form]

    def eval(self, name, form, model):
        """CPU and wall seconds of `learnd eval`."""
        path = config(self.folder, name, form, model)
        cpu, wall, _, _ = measure([self.options.learnd, "eval", "--json", path, self.data(form)])
        return cpu, wall

    def row(self, name, title, measured, bound, holds, detail=""):
        print(f"| {name} | {title} | {measured} | {bound} | {'' if holds else 'missed'} | {detail} |", flush=True)
        if not holds:
            self.missed.append(f"{name}: {measured}, wanted {bound}")


def csv(bench, name):
    """CSV beside a program that only reads its numbers."""
    n, path = bench.options.records, bench.data("csv")
    ours, theirs = [], []
    for _ in range(bench.options.rounds):
        ours.append(bench.eval(name, "csv", 'task = "regression"\n' + LABEL + VW_LEARNER))
        cpu, wall, _, _ = measure([bench.tools, "scan", path])
        theirs.append((cpu, wall))
    cpu, wall = (statistics.median(t[i] / o[i] for o, t in zip(ours, theirs)) for i in (0, 1))
    rate = [n / statistics.median(x[0] for x in xs) for xs in (ours, theirs)]
    bench.row(name, "CSV, dense 20, learned, beside a scanner", f"{cpu:.2f} ×", "≥ 0.65 ×", cpu >= 0.65,
              f"{rate[0]:,.0f} and {rate[1]:,.0f} records/s of CPU; wall {wall:.2f} ×")


def peer(bench, name):
    """A library, record by record."""
    title, records, form, model, least = PEERS[name]
    python = peers()
    if name == "krcf":
        subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True, stdout=sys.stderr)
    ratios, rates = [], []
    for _ in range(bench.options.rounds):
        cpu, _ = bench.eval(name, form, model)
        done = subprocess.run([python, "-W", "ignore", "-c", PEER, name, bench.data(form), str(records)],
                              capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{name}: {done.stderr}")
        rates.append((bench.options.records / cpu, float(done.stdout)))
        ratios.append(rates[-1][0] / rates[-1][1])
    ratio = statistics.median(ratios)
    ours, theirs = (statistics.median(r[i] for r in rates) for i in (0, 1))
    bench.row(name, title, f"{ratio:.0f} ×", f"≥ {least} ×", ratio >= least,
              f"{ours:,.0f} and {theirs:,.0f} records/s of CPU, spread {min(ratios):.0f}..{max(ratios):.0f} ×")


def rest(bench, name):
    """What is not decoding, with one learner and with the race."""
    most, model = (0.5, VW_LEARNER) if name == "rest-vw" else (1.0, "")
    found = bench.tool("rest", "json", bench.data("json"), 'task = "regression"\n' + LABEL + model)
    bench.row(name, "all but decoding, JSON, dense 20, " + ("`vw`" if model else "the race"),
              f"{found['rest_us']:.2f} µs", f"≤ {most} µs", found["rest_us"] <= most,
              f"decoding {found['decode_us']:.2f} µs, all {found['whole_us']:.2f} µs")


class Daemon:
    """`learnd run` while a block lasts; `ready` is when it said so."""

    def __init__(self, bench, path, port, *arguments, **more):
        command = [bench.options.learnd, "run", path, "--set", f"server.listen=127.0.0.1:{port}", *arguments]
        self.log = tempfile.TemporaryFile()
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [str(c) for c in command], stdout=subprocess.DEVNULL, stderr=self.log, **more)
        self.port = port

    def wait_ready(self):
        """Seconds from start to ready."""
        while time.monotonic() - self.began < 20:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as answer:
                    if answer.status == 200:
                        return time.monotonic() - self.began
            except (urllib.error.URLError, OSError):
                if self.process.poll() is not None:
                    break
            time.sleep(0.0005)
        self.log.seek(0)
        raise SystemExit(f"learnd is not ready:\n{self.log.read().decode()}")

    def memory(self, what="VmRSS"):
        """MiB now, or None once it has ended."""
        try:
            lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        except OSError:
            return None
        return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(what + ":")), None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def latency(bench, name):
    """From sending to the reply, at half of the rate that the same connections take at most."""
    form = name.rpartition("-")[2]
    port, web = free_port(), free_port()
    label = LABEL if form == "json" else ""
    path = config(bench.folder, name, form, 'task = "regression"\n' + label + VW_LEARNER,
                  f'type = "tcp"\nlisten = "127.0.0.1:{port}"\nreply = "prediction"\n')
    address, data = f"127.0.0.1:{port}", bench.data(form)
    found = []
    for _ in range(bench.options.rounds):
        with Daemon(bench, path, web) as daemon:
            daemon.wait_ready()
            wait_port(port)
            most = bench.tool("load", address, data, CONNECTIONS, 0, bench.options.seconds)
            found.append(bench.tool("load", address, data, CONNECTIONS, most["rate"] / 2, bench.options.seconds))
    p50, p99, worst, rate = (statistics.median(f[k] for f in found) for k in ("p50_ms", "p99_ms", "max_ms", "rate"))
    bench.row(name, f"TCP at half load, {form}, {CONNECTIONS} connections", f"p50 {p50:.2f} ms, p99 {p99:.2f} ms",
              "p50 ≤ 1 ms, p99 ≤ 5 ms", p50 <= 1 and p99 <= 5, f"at {rate:,.0f} records/s; max {worst:.1f} ms")


def large(bench, name):
    """Records generated as they are read: what is resident early and late."""
    web, n = free_port(), bench.options.large
    path = config(bench.folder, name, "json", 'task = "regression"\n' + LABEL)
    generator = subprocess.Popen([bench.tools, "generate", "json", str(n)], stdout=subprocess.PIPE)
    seen = []
    with Daemon(bench, path, web, stdin=generator.stdout) as daemon:
        generator.stdout.close()
        while daemon.process.poll() is None:
            now = daemon.memory()
            if now:
                seen.append((time.monotonic() - daemon.began, now))
            time.sleep(0.05)
        wall = time.monotonic() - daemon.began
        if daemon.process.returncode or generator.wait():
            daemon.log.seek(0)
            raise SystemExit(f"large: learnd ended with {daemon.process.returncode}:\n{daemon.log.read().decode()}")
    early = max((m for t, m in seen if t <= wall / 5), default=0)
    late = max((m for t, m in seen if t > wall / 5), default=math.inf)
    bench.row(name, f"{n:,} records through `run`", f"{late:.1f} MiB", f"≤ {early + 2:.1f} MiB", late <= early + 2,
              f"{early:.1f} MiB in the first fifth, and 2 more allowed; {n / wall:,.0f} records/s of wall")


def linear(bench, name):
    """Instructions of a record in a long run and in a longer one."""
    if not shutil.which("valgrind"):
        bench.row(name, "instructions a record", "left out", "", True, "valgrind is not installed")
        return
    short, long = (int(size) for size in bench.options.linear.split(","))
    few = instructions.FEW
    counts = instructions.measure(bench.options.learnd, ["vw-dense", "json-dense-race"], [few, short, long], bench.folder)
    for row, (start, middle, end) in counts.items():
        early, late = (middle - start) / (short - few), (end - start) / (long - few)
        change = late / early - 1
        bench.row(name, f"{row}: instructions a record at {long:,} beside {short:,}", f"{change:+.2%}", "within 2 %",
                  abs(change) <= instructions.LINEAR_TOLERANCE, f"{early:,.0f} and {late:,.0f}")


def ready(bench, name):
    """From the start of the process to a ready daemon."""
    seconds = []
    for _ in range(2 * bench.options.rounds + 1):
        with Daemon(bench, ROOT / "config" / "quickstart.toml", free_port()) as daemon:
            seconds.append(daemon.wait_ready() * 1000)
    middle = statistics.median(seconds)
    bench.row(name, "start to ready, quickstart", f"{middle:.0f} ms", "≤ 50 ms", middle <= 50,
              f"{min(seconds):.0f}..{max(seconds):.0f} ms")


def memory(bench, name):
    """What the quickstart has resident at most."""
    with Daemon(bench, ROOT / "config" / "quickstart.toml", free_port()) as daemon:
        daemon.wait_ready()
        time.sleep(bench.options.seconds * 3)
        peak = daemon.memory("VmHWM")
    bench.row(name, "memory, quickstart", f"{peak:.1f} MiB", "≤ 48 MiB", peak <= 48,
              f"peak of {bench.options.seconds * 3:.0f} s")


def binary(bench, name):
    """The size of the program."""
    size = Path(bench.options.learnd).stat().st_size / 2**20
    bench.row(name, "binary", f"{size:.1f} MiB", "≤ 15 MiB", size <= 15)


ROWS = {
    "csv": csv, **dict.fromkeys(PEERS, peer), "rest-vw": rest, "rest-race": rest,
    "latency-vw": latency, "latency-json": latency, "large": large, "linear": linear,
    "ready": ready, "memory": memory, "binary": binary,
}


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    options.add_argument("--check", action="store_true", help="exit 1 if a bound is missed")
    options.add_argument("--records", type=int, default=200_000, help="of the streams that files hold")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=5.0, help="of one run under load")
    options.add_argument("--large", type=int, default=2_000_000, help="records of `large`")
    options.add_argument("--linear", default="100000,1000000", help="lengths of `linear`")
    options.add_argument("--learnd", default=os.environ.get("LEARND_BIN") or ROOT / "target/release/learnd")
    options.add_argument("--tools", help="default: examples/bench-tools beside learnd")
    options = options.parse_args()
    for name in options.rows:
        if name not in ROWS:
            raise SystemExit(f"no row {name}; there are {', '.join(ROWS)}")
    bench = Bench(options)
    print("| row | what | measured | bound | | |")
    print("|---|---|---|---|---|---|")
    for name in options.rows or ROWS:
        ROWS[name](bench, name)
    for line in bench.missed:
        print("missed:", line, file=sys.stderr)
    if options.check and bench.missed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
