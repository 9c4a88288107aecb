#!/usr/bin/env python3
"""The systemd unit: its exposure, and that the sandbox allows every system call the daemon makes.

Needs `systemd-analyze` (Debian: systemd); the system calls need `strace` too. Nothing is started by
systemd: the unit's filter is spelled out and compared with what a traced run uses.
"""

import json
import re
import shutil
import socket
import subprocess

from common import LEARND, ROOT, Checks, Process, folder, free_port, get, metrics, total, until

UNIT = ROOT / "deploy/systemd/learnd.service"
LIMIT = 2.0
check = Checks()


def output(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


if not shutil.which("systemd-analyze"):
    raise SystemExit("systemd-analyze is not installed (apt-get install systemd)")
text = output("systemd-analyze", "security", "--offline=yes", "--no-pager", UNIT)
exposure = re.search(r"exposure level for \S+: (\d+\.\d+)", text)
check(exposure and float(exposure[1]) <= LIMIT, f"exposure {exposure and exposure[1]} <= {LIMIT}", text[-300:])

# What is not installed on this machine is no fault of the unit.
said = [
    line for line in output("systemd-analyze", "verify", UNIT).splitlines()
    if line.startswith("learnd.service") and "is not executable" not in line and "'man learnd(1)'" not in line
]
check(not said, "systemd-analyze verify finds no fault", "\n".join(said))


def calls(group, seen):
    """The system calls of a group, groups in it included."""
    if group not in seen:
        seen.add(group)
        for line in output("systemd-analyze", "syscall-filter", "--no-pager", group).splitlines()[1:]:
            word = line.strip()
            if word.startswith("@"):
                yield from calls(word, seen)
            elif word and not word.startswith("#"):
                yield word


allowed = set()
for line in UNIT.read_text().splitlines():
    if line.startswith("SystemCallFilter="):
        groups = line.split("=", 1)[1]
        listed = {c for g in groups.lstrip("~").split() for c in calls(g, set())}
        allowed = allowed - listed if groups.startswith("~") else allowed | listed
# systemd always allows these.
allowed |= set(calls("@default", set()))
check(len(allowed) > 200, f"the filter allows {len(allowed)} system calls")

if not shutil.which("strace"):
    print("     strace is not installed: the system calls are not compared", flush=True)
    check.finish()
at = folder()
address, intake = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
(at / "state").mkdir(mode=0o700)
(at / "app.jsonl").write_text("".join(json.dumps({"a": i % 7, "y": i}) + "\n" for i in range(2000)))
(at / "learnd.toml").write_text(f"""
[server]
listen = "{address}"
[state]
dir = "{at / 'state'}"
snapshot_every = "200ms"
[sources.feed]
type = "tcp"
listen = "{intake}"
reply = "prediction"
[sources.log]
type = "file"
paths = ["{at}/*.jsonl"]
[models.m]
task = "regression"
label = "y"
[models.n]
task = "anomaly"
[sinks.out]
type = "file"
path = "{at}/out.events"
events = ["prediction", "anomaly"]
""")
# A notification socket, as systemd would give it: READY=1 must arrive, and then the watchdog's.
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.bind(str(at / "notify"))
notify.settimeout(20)
environment = {"PATH": "/usr/bin:/bin", "NOTIFY_SOCKET": str(at / "notify"), "WATCHDOG_USEC": "1000000"}
daemon = Process(["strace", "-f", "-qq", "-o", at / "trace", LEARND, "run", at / "learnd.toml"], at, "learnd", env=environment)
messages = ""
try:
    while "WATCHDOG=1" not in messages:
        messages += notify.recv(4096).decode() + "\n"
except TimeoutError:
    pass
check("READY=1" in messages, "it tells systemd when it is ready", repr(messages) + daemon.stderr()[-600:])
check("WATCHDOG=1" in messages, "and feeds the watchdog")
host, port = intake.split(":")
with socket.create_connection((host, int(port))) as connection:
    connection.sendall(b'{"a":1,"y":2}\n')
    check(connection.makefile().readline().startswith("{"), "it answers while traced")
until(lambda: total(metrics(address), "learnd_records_total") >= 2001, 20)
until(lambda: total(metrics(address), "learnd_snapshot_last_success_timestamp_seconds") > 0, 20)
get(f"http://{address}/v1/models")
(at / "app.jsonl").rename(at / "app.1.jsonl")
# strace passes no signal on: stop the daemon itself.
children = output("pgrep", "-P", str(daemon.child.pid)).split()
subprocess.run(["kill", "-TERM", *children], check=False)
code = until(lambda: None if daemon.alive() else [daemon.child.returncode], 40)
check(code == [0], "SIGTERM ends it with 0", f"{code} {daemon.stderr()[-600:]}")
used = set(re.findall(r"^\d+ +([a-z_0-9]+)\(", (at / "trace").read_text(errors="replace"), re.MULTILINE))
# The first is made by strace's child, before the filter would be there.
denied = used - allowed - {"execve"}
check(len(used) > 20 and not denied, f"the sandbox allows all of the {len(used)} system calls it makes", str(sorted(denied)))
check.finish()
