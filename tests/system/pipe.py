#!/usr/bin/env python3
"""The first five minutes of a stranger: a pipe without configuration, and the quickstart."""

import json
import random
import subprocess
import time

from common import LEARND, ROOT, Checks, Process, folder, free_port, get, metrics, total, until

PLANTED = 3100
check = Checks()
at = folder()


def events():
    """4,000 requests as a program would log them, one of them planted."""
    rng = random.Random(7)
    for i in range(4000):
        slow = 4000.0 if i == PLANTED else 0.0
        yield {
            "ts": f"2026-01-01T{i // 3600:02}:{i // 60 % 60:02}:{i % 60:02}Z",
            "service": rng.choice(["api", "web", "jobs"]),
            "status": 200,
            "latency_ms": round(rng.lognormvariate(3.5, 0.4) + slow, 2),
            "bytes": int(rng.lognormvariate(8, 0.5)),
        }


# 1. A few thousand lines into `learnd run`, nothing written first.
lines = at / "events.jsonl"
lines.write_text("".join(json.dumps(e) + "\n" for e in events()))
with open(lines) as stdin:
    pipe = Process([LEARND, "run"], at, "pipe", stdin=stdin)
    code = until(lambda: None if pipe.alive() else [pipe.child.returncode], 60) or ["still running"]
check(code == [0], "a pipe without configuration ends with 0 at its end", f"{code[0]}: {pipe.stderr()[-600:]}")
alerts = [e for e in pipe.events() if e["event"] == "anomaly"]
check(len(alerts) == len(pipe.events()), "only alerts are written to standard output", f"{pipe.events()[:2]}")
check(0 < len(alerts) < 20, f"fewer than 20 alerts in 4,000 lines: {len(alerts)}")
found = [e for e in alerts if e["seq"] == PLANTED + 1]
if check(len(found) == 1, "the planted outlier is one of them", f"seqs {[e['seq'] for e in alerts]}"):
    reason = found[0]["reasons"][0]
    check(reason["feature"] == "latency_ms" and reason["value"] > 4000, f"with its reason: {reason}")
    check(found[0]["record"]["latency_ms"] == reason["value"], "and the record as it was received")
    check(found[0]["score"] == max(e["score"] for e in alerts), "and none is stranger")

# 2. The quickstart, as the README has it, at another port.
address = f"127.0.0.1:{free_port()}"
truth = at / "truth.jsonl"
config = ROOT / "config/quickstart.toml"
command = [LEARND, "run", config, "--set", f"server.listen={address}", "--set", f"sources.shop.truth={truth}"]
began = time.monotonic()
quick = Process(command, at, "quickstart", cwd=at)
check(until(lambda: get(f"http://{address}/readyz")[0] == 200, 10), "the quickstart is ready", quick.stderr()[-600:])
check(get(f"http://{address}/healthz")[0] == 200, "and healthy")


def injected():
    """The sequence numbers of the anomalies that the demo says it made."""
    out = set()
    text = truth.read_text() if truth.exists() else ""
    for number, line in enumerate(text.splitlines(), 1):
        try:
            entry = json.loads(line)
        except ValueError:
            break  # the last line is still being written
        if entry.get("anomaly") not in (None, False, 0, ""):
            out.add(entry.get("seq", number))
    return out


def hits():
    return [e for e in quick.events() if e["event"] == "anomaly" and e["seq"] in injected()]


found = until(hits, 30, 0.5)
check(found, f"an injected anomaly is flagged within 30 seconds ({time.monotonic() - began:.0f} s)",
      f"{len(quick.events())} events, {len(injected())} injected")
until(lambda: time.monotonic() - began > 25, 30, 0.5)
# The budget lets the strangest of the usual through too (that is what it is: so many a day); what is
# called critical must be what was injected.
critical = [e for e in quick.events() if e["event"] == "anomaly" and e["severity"] == "critical"]
hit = [e for e in critical if e["seq"] in injected()]
check(critical and len(hit) == len(critical),
      f"what is critical was injected: {len(hit)} of {len(critical)}, {len(injected())} injected")
scrape = metrics(address)
check(total(scrape, "learnd_records_total") > 1000, "records are counted", str(scrape.get("learnd_records_total")))
check(total(scrape, "learnd_anomalies_total") > 0, "alerts are counted")
for model in ("bought", "basket"):
    loss = total(scrape, "learnd_loss", model=model, window="all")
    constant = total(scrape, "learnd_baseline_loss", model=model, baseline="constant")
    check(0 < loss < constant, f"{model} has learned: loss {loss:.4g} < {constant:.4g} of a constant")
    lanes = {l["rate"] for l, _ in scrape.get("learnd_lane_loss", []) if l["model"] == model}
    check(len(lanes) == 4, f"{model} shows the four lanes of its race", str(sorted(lanes)))
lines_total = total(scrape, "learnd_lines_total")
parts = sum(total(scrape, f"learnd_{p}_total") for p in ("records", "blank", "rejected", "duplicates", "shed"))
check(lines_total == parts, f"no line disappears: {lines_total:.0f} = {parts:.0f}")
check(quick.stop() == 0, "SIGTERM ends it with 0")

# 3. A reader of standard output that goes away is a clean stop.
done = subprocess.run(
    ["bash", "-c", f'"{LEARND}" run "{config}" --set server.listen=127.0.0.1:{free_port()} 2>"{at}/head.err" | head -n 1; '
     'exit "${PIPESTATUS[0]}"'],
    stdout=subprocess.PIPE, timeout=90, check=False,
)
check(done.returncode == 0, "a reader that goes away ends it with 0", f"{done.returncode}")
check.finish()
