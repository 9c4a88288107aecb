#!/usr/bin/env python3
"""A real Prometheus scrapes learnd: its rules fire on an anomaly and on a rising loss, the shipped
rules load, and every query of the shipped dashboard runs.

Needs `prometheus` and `promtool` (Debian: apt-get install prometheus).
"""

import json
import random
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse

from common import LEARND, ROOT, Checks, Process, folder, free_port, get, metrics, total, until

DEADLINE = 90
check = Checks()
at = folder()
for tool in ("prometheus", "promtool"):
    if not shutil.which(tool):
        raise SystemExit(f"{tool} is not installed (apt-get install prometheus)")

address, intake, prometheus = (f"127.0.0.1:{free_port()}" for _ in range(3))
(at / "state").mkdir(mode=0o700)
(at / "learnd.toml").write_text(f"""
[server]
listen = "{address}"

[state]
dir = "{at / 'state'}"
snapshot_every = "1s"

[sources.feed]
type = "tcp"
listen = "{intake}"

[models.usual]
task = "anomaly"
features = ["latency_ms"]

[models.label]
task = "binary"
label = "y"
features = ["a", "b", "c"]

[models.amount]
task = "regression"
label = "amount"
features = ["a", "b", "c"]

[sinks.out]
type = "stdout"
""")
(at / "test.rules.yml").write_text("""
groups:
  - name: test
    rules:
      - alert: Anomaly
        expr: increase(learnd_anomalies_total[10s]) > 0
      - alert: LossRising
        expr: |
          rate(learnd_loss_sum_total{model="label"}[5s]) / rate(learnd_loss_weight_total{model="label"}[5s])
            > 1.5 * (rate(learnd_loss_sum_total{model="label"}[8s] offset 8s) / rate(learnd_loss_weight_total{model="label"}[8s] offset 8s))
""")
(at / "prometheus.yml").write_text(f"""
global:
  scrape_interval: 1s
  evaluation_interval: 1s
rule_files:
  - {at / 'test.rules.yml'}
  - {ROOT / 'deploy/prometheus/learnd.rules.yml'}
scrape_configs:
  - job_name: learnd
    static_configs:
      - targets: ["{address}"]
""")


class Feed(threading.Thread):
    """500 lines a second: a label that can be learned, until it is turned round; outliers on demand."""

    def __init__(self):
        super().__init__(daemon=True)
        self.rng = random.Random(5)
        self.turned = self.outlier = False
        self.sent = 0
        self.stopping = threading.Event()

    def line(self):
        a, b, c = (self.rng.gauss(0, 1) for _ in range(3))
        y = (a - b > 0) != self.turned
        latency = self.rng.lognormvariate(3.5, 0.3)
        if self.outlier:
            self.outlier, latency = False, 9e4
        return {"a": a, "b": b, "c": c, "y": int(y), "amount": 3 * a + b, "latency_ms": latency}

    def run(self):
        host, port = intake.split(":")
        with socket.create_connection((host, int(port))) as connection:
            while not self.stopping.wait(0.02):
                connection.sendall("".join(json.dumps(self.line()) + "\n" for _ in range(10)).encode())
                self.sent += 10
            connection.sendall(b"\nthis is no JSON\n")
            self.sent += 2


def ask(path, **parameters):
    _, body = get(f"http://{prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
    return json.loads(body) if body.startswith("{") else {}


def firing():
    alerts = ask("alerts").get("data", {}).get("alerts", [])
    return {a["labels"]["alertname"] for a in alerts if a["state"] == "firing"}


daemon = Process([LEARND, "run", at / "learnd.toml"], at, "learnd")
check(until(lambda: get(f"http://{address}/readyz")[0] == 200, 10), "learnd is ready", daemon.stderr()[-1500:])
server = Process(
    ["prometheus", f"--config.file={at / 'prometheus.yml'}", f"--storage.tsdb.path={at / 'tsdb'}", f"--web.listen-address={prometheus}"],
    at, "prometheus",
)
check(until(lambda: get(f"http://{prometheus}/-/ready")[0] == 200, 30), "Prometheus is ready", server.stderr()[-600:])
began = time.monotonic()
feed = Feed()
feed.start()


def scraped():
    result = ask("query", query='learnd_learned_total{model="label"}').get("data", {}).get("result", [])
    return result and float(result[0]["value"][1]) > 8000


check(until(scraped, 40, 0.5), "Prometheus scrapes what is learned")
quiet = firing() & {"Anomaly", "LossRising"}
check("LossRising" not in quiet, "the loss does not rise while the label can be learned", str(quiet))
feed.turned = True
feed.outlier = True
left = DEADLINE - (time.monotonic() - began)
fired = set()


def both():
    fired.update(firing() & {"Anomaly", "LossRising"})
    return len(fired) == 2


until(both, left, 0.5)
check("Anomaly" in fired, "a rule over learnd_anomalies_total fires", str(metrics(address).get("learnd_anomalies_total")))
check("LossRising" in fired, "a rule over a rising loss fires", str(metrics(address).get("learnd_loss")))
print(f"     after {time.monotonic() - began:.0f} s", flush=True)

# The shipped rules and dashboard, on real series.
groups = ask("rules").get("data", {}).get("groups", [])
sick = [r["name"] + ": " + r.get("lastError", "") for g in groups for r in g["rules"] if r["health"] != "ok"]
check(len(groups) > 5 and not sick, "every shipped rule is evaluated without an error", str(sick))
check("LearndWatchdog" in firing(), "the shipped dead man's switch fires")


def queries(node):
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "expr":
                yield value
            else:
                yield from queries(value)
    elif isinstance(node, list):
        for value in node:
            yield from queries(value)


broken, empty = [], []
asked = 0
for query in queries(json.loads((ROOT / "deploy/grafana/learnd.json").read_text())):
    plain = query.replace("$job", "learnd").replace("$instance", ".*").replace("$model", ".*").replace("$__rate_interval", "10s")
    answer = ask("query", query=plain)
    asked += 1
    if answer.get("status") != "success":
        broken.append(f"{query}: {answer.get('error')}")
    # Some are empty while nothing is wrong; metrics of other kinds of source never show here.
    elif not answer["data"]["result"] and "> 0" not in query and "source_lag_bytes" not in query:
        empty.append(query)
check(asked > 30 and not broken, f"every one of {asked} queries of the dashboard runs", str(broken))
check(not empty, "and shows something", "\n       ".join(["", *empty]))

feed.stopping.set()
feed.join()


def taken():
    return total(metrics(address), "learnd_lines_total") == feed.sent


check(until(taken, 10), f"all {feed.sent:,} lines are counted", str(metrics(address).get("learnd_lines_total")))
scrape = metrics(address)
records = total(scrape, "learnd_records_total")
check(total(scrape, "learnd_blank_total") == 1 and total(scrape, "learnd_rejected_total", reason="syntax") == 1,
      "a blank line and one that is no JSON are told apart", f"{scrape.get('learnd_blank_total')} {scrape.get('learnd_rejected_total')}")
for model in ("usual", "label", "amount"):
    parts = [total(scrape, f"learnd_{p}", model=model) for p in ("learned_total", "unlabelled_total", "skipped_total", "pending")]
    check(sum(parts) == records, f"no record disappears in {model}: {records:.0f} = {sum(parts):.0f}", str(parts))
status, text = get(f"http://{address}/metrics")
lint = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
check(status == 200 and lint.returncode == 0, "promtool check metrics has nothing to say", lint.stdout + lint.stderr)
check(daemon.stop() == 0, "SIGTERM ends learnd with 0", daemon.stderr()[-600:])
server.stop(10)
check.finish()
