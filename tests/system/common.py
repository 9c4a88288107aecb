"""What the system tests share: the binary, a daemon in a folder of its own, HTTP, and checks.

The binary is $LEARND_BIN, else target/release/learnd, else target/debug/learnd. Everything that is
started is stopped at the end, whatever happens; ports are free ones of the loopback interface.
"""

import atexit
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def binary():
    named = os.environ.get("LEARND_BIN")
    candidates = [Path(named)] if named else [ROOT / "target/release/learnd", ROOT / "target/debug/learnd"]
    for path in candidates:
        if os.access(path, os.X_OK):
            return str(path.resolve())
    raise SystemExit(f"no binary: {' nor '.join(map(str, candidates))}; build one or set LEARND_BIN")


LEARND = binary()


class Checks:
    """One line a check; `finish` ends the script with 1 if one has failed."""

    def __init__(self):
        self.failed = 0

    def __call__(self, holds, what, but=""):
        self.failed += not holds
        print(f"{'ok  ' if holds else 'FAIL'} {what}" + ("" if holds or not but else f": {but}"), flush=True)
        return holds

    def finish(self):
        print("PASS" if not self.failed else f"FAIL: {self.failed}", flush=True)
        sys.exit(1 if self.failed else 0)


def folder():
    """A new folder that goes away at the end; it stays with KEEP=1."""
    path = Path(tempfile.mkdtemp(prefix="learnd-system-"))
    if os.environ.get("KEEP"):
        print(f"files stay in {path}", file=sys.stderr)
    else:
        atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Process:
    """A child with its output in files."""

    def __init__(self, command, at, name, **more):
        self.out, self.err = at / f"{name}.out", at / f"{name}.err"
        with open(self.out, "ab") as out, open(self.err, "ab") as err:
            self.child = subprocess.Popen([str(c) for c in command], stdout=out, stderr=err, **more)
        atexit.register(self.kill)

    def alive(self):
        return self.child.poll() is None

    def kill(self):
        if self.alive():
            self.child.kill()
        return self.child.wait()

    def stop(self, seconds=40):
        """SIGTERM; the exit code, or None if it had to be killed."""
        if self.alive():
            self.child.send_signal(signal.SIGTERM)
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def stderr(self):
        return self.err.read_text(errors="replace")

    def events(self):
        """The whole lines of its standard output, as JSON."""
        text = self.out.read_bytes()
        return [json.loads(line) for line in text[: text.rfind(b"\n") + 1].splitlines()]


def get(url, seconds=5):
    """Status and body; status 0 while nobody listens."""
    try:
        with urllib.request.urlopen(url, timeout=seconds) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()
    except (urllib.error.URLError, OSError):
        return 0, ""


def until(condition, seconds, every=0.05):
    """Asks again and again; what the condition gave once it holds, else its last answer."""
    end = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer or time.monotonic() > end:
            return answer
        time.sleep(every)


SAMPLE = re.compile(r"^([a-z_0-9]+)(?:\{(.*)\})? (\S+)$")


def metrics(address):
    """{name: [({label: value}, number)]} of a scrape; empty while nobody answers."""
    found = {}
    for line in get(f"http://{address}/metrics")[1].splitlines():
        match = SAMPLE.match(line)
        if match and not line.startswith("#"):
            labels = dict(re.findall(r'(\w+)="([^"]*)"', match[2] or ""))
            found.setdefault(match[1], []).append((labels, float(match[3])))
    return found


def total(scrape, name, **labels):
    """The sum of the samples that have these labels."""
    return sum(v for l, v in scrape.get(name, []) if all(l.get(k) == w for k, w in labels.items()))
