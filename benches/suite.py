#!/usr/bin/env python3
"""The speed of learnd beside Vowpal Wabbit, River and scikit-learn, on the same records in the same run.

    cargo build --release
    python3 benches/suite.py [--check] [--records 1000000] [--rounds 5] [ROW...]

Makes the streams once (seeded), installs the peers from PyPI into target/peers, runs each work with
learnd and with Vowpal Wabbit in turns, and prints medians, spread and ratios as a Markdown table.
CPU is user + system time of all threads; the start of VW's interpreter is measured and taken off
both of its times. Only ratios mean anything on a shared machine. With --check, exits 1 unless every
bound holds.
"""

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import streams  # noqa: E402
from peers import ROOT, peers  # noqa: E402

VW_LEARNER = 'learner = { type = "linear", optimizer = "vw" }\n'
CONNECTIONS = 4

# name: (stream, format of learnd, format of vw, model, arguments of vw, least CPU ratio, least wall ratio)
ROWS = {
    "vw-dense": ("dense", "vw", "vw", 'task = "regression"\n' + VW_LEARNER, [], 2.5, 1.8),
    "vw-dense-logistic": (
        "dense", "sign.vw", "sign.vw", 'task = "binary"\n' + VW_LEARNER, ["--loss_function", "logistic"], 2.5, 1.8,
    ),
    "json-dense": (
        "dense", "json", "json", 'task = "regression"\nlabel = "_label"\n' + VW_LEARNER, ["--json"], 3.5, 2.5,
    ),
    "json-dense-race": ("dense", "json", "json", 'task = "regression"\nlabel = "_label"\n', ["--json"], 2.5, 2.0),
    "json-sparse": (
        "sparse", "json", "json", 'task = "binary"\nlabel = "_label"\n' + VW_LEARNER,
        ["--json", "--loss_function", "logistic"], 3.0, 2.5,
    ),
    "vw-sparse": (
        "sparse", "vw", "vw", 'task = "binary"\n' + VW_LEARNER, ["--loss_function", "logistic"], 1.8, 1.5,
    ),
    "predictions": ("dense", "vw", "vw", 'task = "regression"\n' + VW_LEARNER, ["-p", "{out}"], 5.0, 4.0),
    "tcp": ("dense", "vw", "vw", 'task = "regression"\n' + VW_LEARNER, [], 8.0, 6.0),
}
TITLES = {
    "vw-dense": "VW text, dense 20, squared, `vw`",
    "vw-dense-logistic": "VW text, dense 20, logistic, `vw`",
    "json-dense": "JSON, dense 20, `vw` (VW `--json`)",
    "json-dense-race": "JSON, dense 20, the race",
    "json-sparse": "JSON, sparse, `vw`",
    "vw-sparse": "VW text, sparse, `vw`",
    "predictions": "dense, predictions written",
    "tcp": f"TCP, pipelined, predictions returned, {CONNECTIONS} connections",
}


def measure(command):
    """CPU seconds, wall seconds, peak MiB and both outputs of one run."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.monotonic()
        child = subprocess.Popen([str(c) for c in command], stdout=out, stderr=err)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.monotonic() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        text = out.read().decode(), err.read().decode()
        if child.returncode:
            raise SystemExit(f"{command[0]} ended with {child.returncode}:\n{text[1]}")
        return usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024, text


def config(folder, name, form, model, extra=""):
    """A configuration file of learnd for one row."""
    path = folder / f"{name}.toml"
    form = form.split(".")[-1]
    path.write_text(
        f'[server]\nlisten = "127.0.0.1:0"\n[sources.data]\nformat = "{form}"\n'
        + (extra or 'type = "stdin"\n') + f"[models.m]\n{model}[sinks.none]\ntype = \"stdout\"\nevents = [\"drift\"]\n"
    )
    return path


def vw_loss(text):
    found = re.search(r"average loss = (\S+)", text)
    return float(found.group(1)) if found else float("nan")


def talk(port, parts):
    """Sends each part over a connection of its own and counts the lines that come back."""
    counts = [0] * len(parts)

    def one(i):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            sender = threading.Thread(target=lambda: connection.sendall(parts[i]))
            sender.start()
            want, got = parts[i].count(b"\n"), 0
            while got < want:
                block = connection.recv(1 << 20)
                if not block:
                    break
                got += block.count(b"\n")
            sender.join()
            counts[i] = got

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(parts))]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - began, sum(counts)


def cpu_of(pids):
    """User + system seconds of processes."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_port(port):
    for _ in range(400):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.025)
    raise SystemExit(f"nothing listens on port {port}")


def serve(command, port, parts):
    """CPU and wall seconds of a daemon that answers the parts."""
    daemon = subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_port(port)
        children = subprocess.run(["pgrep", "-P", str(daemon.pid)], capture_output=True, text=True).stdout.split()
        pids = [daemon.pid, *map(int, children)]
        before = cpu_of(pids)
        wall, answered = talk(port, parts)
        want = sum(part.count(b"\n") for part in parts)
        if answered != want:
            raise SystemExit(f"{command[0]} answered {answered} of {want} lines")
        return cpu_of(pids) - before, wall
    finally:
        daemon.terminate()
        daemon.wait()


def run_row(name, options, folder, python, start):
    """Rounds of one row: ((cpu, wall) of learnd, (cpu, wall) of vw) in turns, losses, peaks."""
    stream, form, vw_form, model, arguments, *_ = ROWS[name]
    files = streams.write(folder, stream, options.records)
    rounds, losses, peaks = [], None, None
    if name == "tcp":
        lines = files[form].read_bytes().splitlines(keepends=True)[: options.records // 4]
        parts = [b"".join(lines[i::CONNECTIONS]) for i in range(CONNECTIONS)]
        for _ in range(options.rounds):
            port = free_port()
            path = config(folder, name, form, model, f'type = "tcp"\nlisten = "127.0.0.1:{port}"\nreply = "prediction"\n')
            ours = serve([options.learnd, "run", path], port, parts)
            # PyPI's wheel opens the port but never answers: there is nothing to compare with.
            rounds.append((ours, None))
        return rounds, ("", ""), (0, 0)
    path = config(folder, name, form, model)
    out = folder / "predictions.out"
    ours = [options.learnd, "eval", "--json", path, files[form]]
    if name == "predictions":
        ours += ["--predictions", folder / "predictions.jsonl"]
    theirs = [python, "-m", "vowpalwabbit", *(a.format(out=out) for a in arguments), "-d", files[vw_form]]
    subprocess.run(["cat", files[form], files[vw_form]], stdout=subprocess.DEVNULL, check=True)
    for _ in range(options.rounds):
        cpu, wall, peak, text = measure(ours)
        vw_cpu, vw_wall, vw_peak, vw_text = measure(theirs)
        rounds.append(((cpu, wall), (vw_cpu - start[0], vw_wall - start[1])))
        loss = json.loads(text[0])["models"]["m"]["progressive"]["loss"]
        losses, peaks = (loss, vw_loss(vw_text[1])), (peak, vw_peak)
    return rounds, losses, peaks


PEER = '''
import sys, time, json
which, path, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
rows = []
with open(path) as file:
    for line, _ in zip(file, range(n)):
        row = json.loads(line)
        rows.append((row.pop("_label"), row))
if which == "river":
    from river import linear_model, preprocessing
    model = preprocessing.StandardScaler() | linear_model.LinearRegression()
    began = time.process_time()
    for y, x in rows:
        model.predict_one(x)
        model.learn_one(x, y)
else:
    import numpy as np
    from sklearn.linear_model import SGDRegressor
    model = SGDRegressor()
    data = [(y, np.array([list(x.values())])) for y, x in rows]
    began = time.process_time()
    for i, (y, x) in enumerate(data):
        if i:
            model.predict(x)
        model.partial_fit(x, [y])
print(len(rows) / (time.process_time() - began))
'''


def libraries(options, folder, python):
    """Records per CPU second of River and scikit-learn, record by record, parsing not counted."""
    files = streams.write(folder, "dense", options.records)
    subprocess.run([str(python), "-m", "pip", "install", "-q", "scikit-learn"], check=True)
    for which, records in (("river", 20_000), ("scikit-learn", 3_000)):
        out = subprocess.run(
            [str(python), "-c", PEER, which, str(files["json"]), str(records)],
            capture_output=True, text=True, check=True).stdout
        yield which, float(out)


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    options.add_argument("--check", action="store_true", help="exit 1 if a bound is missed")
    options.add_argument("--records", type=int, default=1_000_000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--libraries", action="store_true", help="River and scikit-learn too")
    options.add_argument("--learnd", default=os.environ.get("LEARND_BIN") or ROOT / "target/release/learnd")
    options = options.parse_args()

    python = peers()
    folder = ROOT / "target" / "suite"
    folder.mkdir(parents=True, exist_ok=True)
    empty = folder / "empty.vw"
    empty.write_text("")
    starts = [measure([python, "-m", "vowpalwabbit", "-d", empty]) for _ in range(3)]
    start = statistics.median(s[0] for s in starts), statistics.median(s[1] for s in starts)

    print("| work | learnd, records/s of CPU (spread) | vw | CPU ratio | wall ratio | loss: learnd, vw | peak MiB: learnd, vw |")
    print("|---|---|---|---|---|---|---|")
    missed = []
    for name in options.rows or ROWS:
        rounds, losses, peaks = run_row(name, options, folder, python, start)
        records = options.records // 4 if name == "tcp" else options.records
        ours = [records / r[0][0] for r in rounds]
        if name == "tcp":
            wall = statistics.median(records / r[0][1] for r in rounds)
            print(f"| {TITLES[name]} | {statistics.median(ours):,.0f} ({min(ours):,.0f}..{max(ours):,.0f}) "
                  f"| its wheel does not answer | | {wall:,.0f}/s of wall | | |", flush=True)
            continue
        cpu = statistics.median(r[1][0] / r[0][0] for r in rounds)
        wall = statistics.median(r[1][1] / r[0][1] for r in rounds)
        vw_rate = statistics.median(records / r[1][0] for r in rounds)
        loss = f"{losses[0]:.5f}, {losses[1]:.5f}"
        print(
            f"| {TITLES[name]} | {statistics.median(ours):,.0f} ({min(ours):,.0f}..{max(ours):,.0f}) | {vw_rate:,.0f} "
            f"| {cpu:.2f} | {wall:.2f} | {loss} | {peaks[0]:.0f}, {peaks[1]:.0f} |", flush=True)
        least_cpu, least_wall = ROWS[name][5:]
        if cpu < least_cpu:
            missed.append(f"{name}: CPU ratio {cpu:.2f}, wanted {least_cpu}")
        if wall < least_wall:
            missed.append(f"{name}: wall ratio {wall:.2f}, wanted {least_wall}")
    if options.libraries:
        for which, rate in libraries(options, folder, python):
            print(f"\n{which}: {rate:,.0f} records/s of CPU, parsing not counted")
    for line in missed:
        print("missed:", line, file=sys.stderr)
    if options.check and missed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
