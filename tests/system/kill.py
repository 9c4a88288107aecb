#!/usr/bin/env python3
"""SIGKILL at random moments, over a followed file that is written to and rotated all the while.

    python3 tests/system/kill.py [KILLS] [SEED]        200 kills by default

A writer appends numbered lines (now and then half a line first) and rotates by renaming as logrotate
does: access.jsonl becomes .1, .1 becomes .2, and so on. learnd follows the file with a snapshot every
100 ms, is killed, started again, killed... At the end its digest must be that of a learnd that was
never killed and read the same lines from one file, and each line must have been learned once.
"""

import json
import random
import subprocess
import sys
import threading
import time

from common import LEARND, Checks, Process, folder, free_port, get, metrics, total, until

KILLS = int(sys.argv[1]) if len(sys.argv) > 1 else 200
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(10**6)
LINES_A_FILE = 1500

check = Checks()
at = folder()
rng = random.Random(SEED)
print(f"{KILLS} kills, seed {SEED}", flush=True)

MODELS = """
[models.price]
task = "regression"
label = "y"
features = ["a", "b", "kind"]
interactions = [["a", "kind"]]
hash_bits = 12

[models.bought]
task = "binary"
label = "bought"
features = ["a", "b"]
hash_bits = 10
update = { mode = "minibatch", records = 7 }

[models.usual]
task = "anomaly"
features = ["a", "b", "c"]
time = "ts"

[models.by_kind]
task = "anomaly"
key = ["kind"]
features = ["c"]
time = "ts"
"""


def config(name, paths, follow):
    """Writes NAME.toml with a state directory of its own; the path and the state directory."""
    state = at / f"{name}.state"
    state.mkdir(mode=0o700)
    path = at / f"{name}.toml"
    path.write_text(
        f'[server]\nlisten = "{address}"\n\n'
        f'[state]\ndir = "{state}"\nsnapshot_every = "100ms"\n\n'
        f'[sources.access]\ntype = "file"\npaths = [{json.dumps(paths)}]\nfollow = {json.dumps(follow)}\n'
        + ('poll_interval = "10ms"\n' if follow else "")
        + MODELS
        + f'\n[sinks.out]\ntype = "file"\npath = "{at / name}.events"\n'
    )
    return path, state


class Writer(threading.Thread):
    """Numbered lines into a rotating file, until told to stop."""

    def __init__(self, logs):
        super().__init__(daemon=True)
        self.logs, self.rng = logs, random.Random(SEED + 1)
        self.stopping, self.written, self.rotations = threading.Event(), [], 0

    def line(self, n):
        a, b = self.rng.gauss(0, 1), self.rng.gauss(5, 2)
        kind = self.rng.choice(["x", "y", "z"])
        return json.dumps({
            "n": n, "ts": 1_767_225_600 + n, "kind": kind, "a": a, "b": b,
            "c": self.rng.gauss(10, 1) + (40 if n % 997 == 996 else 0),
            "y": 3 * a - b + (kind == "x"), "bought": int(a > 0),
        }).encode() + b"\n"

    def rotate(self):
        for i in range(self.rotations, 0, -1):
            (self.logs / f"access.jsonl.{i}").rename(self.logs / f"access.jsonl.{i + 1}")
        (self.logs / "access.jsonl").rename(self.logs / "access.jsonl.1")
        self.rotations += 1

    def run(self):
        while not self.stopping.is_set():
            with open(self.logs / "access.jsonl", "ab", buffering=0) as file:
                for _ in range(LINES_A_FILE // 30):
                    lines = [self.line(len(self.written) + i + 1) for i in range(30)]
                    block = b"".join(lines)
                    cut = self.rng.randrange(1, len(block))
                    file.write(block[:cut])
                    if self.rng.random() < 0.2:
                        time.sleep(0.005)
                    file.write(block[cut:])
                    self.written += lines
                    time.sleep(0.01)
            self.rotate()
        # The newest file is there and has lines, as in life.
        with open(self.logs / "access.jsonl", "ab") as file:
            lines = [self.line(len(self.written) + i + 1) for i in range(10)]
            file.write(b"".join(lines))
            self.written += lines


def inspect(state):
    done = subprocess.run([LEARND, "inspect", "--json", state], capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else {}


def digest(state):
    done = subprocess.run([LEARND, "inspect", "--digest", state], capture_output=True, text=True, check=False)
    return done.stdout.strip() or f"{state.name}: {done.stderr.strip()}"


def counts(state):
    """The number of records that each model has seen, by its snapshot."""
    models = inspect(state).get("models", {})
    pairs = models.items() if isinstance(models, dict) else ((m["name"], m) for m in models)
    return {name: model.get("records") for name, model in pairs}


address = f"127.0.0.1:{free_port()}"
logs = at / "logs"
logs.mkdir()
killed, state = config("killed", str(logs / "access.jsonl*"), True)
writer = Writer(logs)
writer.start()
began = time.monotonic()
early, resumed, seen = [], 0, 0
for kill in range(KILLS):
    daemon = Process([LEARND, "run", killed], at, "killed")
    time.sleep(rng.uniform(0.0, 0.3))
    if not daemon.alive():
        early.append(daemon.child.returncode)
        break
    daemon.kill()
    if kill % 20 == 19:
        now = sum(v or 0 for v in counts(state).values())
        resumed += now > seen
        seen = now
check(not early, f"{KILLS} kills in {time.monotonic() - began:.0f} s", f"it ended by itself with {early}: {daemon.stderr()[-1500:]}")
check(resumed >= KILLS // 40, f"it got on between the kills: seen {seen // 4:,} records at the last look")
writer.stopping.set()
writer.join()
lines = len(writer.written)
print(f"     {lines:,} lines, {writer.rotations} rotations", flush=True)

# Let it come to the end of what was written, undisturbed.
daemon = Process([LEARND, "run", killed], at, "killed")
check(until(lambda: get(f"http://{address}/readyz")[0] == 200, 20), "it recovers", daemon.stderr()[-1500:])
calm, before = 0, None
end = time.monotonic() + 30
while calm < 10 and time.monotonic() < end:
    scrape = metrics(address)
    now = (total(scrape, "learnd_source_lag_bytes"), total(scrape, "learnd_records_total"), total(scrape, "learnd_learned_total"))
    calm = calm + 1 if now == before and now[0] == 0 else 0
    before = now
    time.sleep(0.1)
check(calm == 10, "it comes to the end of the file", f"lag, records, learned: {before}")
check(daemon.stop() == 0, "SIGTERM ends it with 0", daemon.stderr()[-1500:])

# The same lines from one file, never disturbed.
(at / "all.jsonl").write_bytes(b"".join(writer.written))
calm_config, calm_state = config("undisturbed", str(at / "all.jsonl"), False)
done = subprocess.run([LEARND, "run", calm_config], capture_output=True, text=True, timeout=60, check=False)
check(done.returncode == 0, "the undisturbed run ends with 0", f"{done.returncode} {done.stderr[-1500:]}")

killed_counts, calm_counts = counts(state), counts(calm_state)
check(calm_counts and all(v == lines for v in calm_counts.values()), f"the undisturbed run saw each of {lines:,} lines once", str(calm_counts))
check(killed_counts == calm_counts, "the killed one too", f"{killed_counts}")
check(digest(state) == digest(calm_state), f"and both digests are {digest(calm_state)}", digest(state))
check.finish()
