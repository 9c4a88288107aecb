"""What Vowpal Wabbit predicts on lines of its text format.

    pip install vowpalwabbit==9.11.9
    python vw_text.py

Writes beside itself the lines (vw_regression.vw, vw_binary.vw), VW's predictions of each case
(vw_CASE.csv: a prediction a line) and the average losses it prints (vw_text.csv).

    python vw_text.py FILE OPTION...

prints the average loss of a file of one's own.
"""
import os
import random
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
RECORDS = 300

CASES = [
    ("squared", "regression", []),
    ("squared_q", "regression", ["-q", "ab"]),
    ("squared_qaa", "regression", ["-q", "aa"]),
    ("squared_cubic", "regression", ["--cubic", "aba", "-q", "ba"]),
    ("squared_all", "regression", ["--hash", "all", "-b", "10"]),
    ("squared_power", "regression", ["--power_t", "0.4", "-l", "0.3", "--initial_t", "1"]),
    ("squared_penalized", "regression", ["--l1", "1e-4", "--l2", "1e-4"]),
    ("squared_range", "regression", ["--min_prediction", "-1", "--max_prediction", "2", "--noconstant"]),
    ("squared_sgd", "regression", ["--sgd", "-l", "0.005", "-q", "ab"]),
    ("squared_sgd_penalized", "regression", ["--sgd", "-l", "0.005", "--l1", "1e-4", "--l2", "1e-3", "--power_t", "0"]),
    ("quantile", "regression", ["--loss_function", "quantile", "--quantile_tau", "0.3"]),
    ("quantile_q", "regression", ["--loss_function", "quantile", "-q", "ab"]),
    ("quantile_sgd", "regression", ["--loss_function", "quantile", "--quantile_tau", "0.7", "--sgd", "-l", "0.05"]),
    ("logistic", "binary", ["--loss_function", "logistic"]),
    ("logistic_q", "binary", ["--loss_function", "logistic", "-q", "ab", "-b", "12"]),
    ("logistic_penalized", "binary", ["--loss_function", "logistic", "--l1", "1e-4", "--l2", "1e-4"]),
    ("logistic_sgd", "binary", ["--loss_function", "logistic", "--sgd", "-l", "0.05", "--initial_t", "4"]),
    ("hinge", "binary", ["--loss_function", "hinge"]),
    ("hinge_q", "binary", ["--loss_function", "hinge", "-q", "ab"]),
    ("hinge_sgd", "binary", ["--loss_function", "hinge", "--sgd", "-l", "0.01"]),
]


def lines(kind):
    rng = random.Random(11)
    weights = {}

    def weight(name):
        return weights.setdefault(name, rng.gauss(0, 1))

    for i in range(RECORDS):
        z, parts = 0.0, []
        features = []
        for name in sorted(rng.sample(["x", "y", "z", "w", "12", "007"], 3)):
            v = round(rng.gauss(0, 1) * (10 if name == "w" else 1), 4)
            z += weight("a" + name) * v * (0.1 if name == "w" else 1)
            features.append(f"{name}:{v}")
        if i % 9 == 0:
            features.append(features[0])
        if i % 5 == 0:
            features.append(f":{rng.random():.3f} :2")
        parts.append("|a " + " ".join(features))
        word = rng.choice(["red", "green", "blue", "x-1"])
        z += weight("b" + word)
        v = round(rng.random(), 3)
        z += 0.5 * v
        parts.append(f"|b:0.5 col:{word} url:http://h/{rng.randrange(9)} v:{v} {rng.choice(['p', 'q', 'r:0', '3'])}")
        if i % 3 == 0:
            parts.append(f"| free{rng.randrange(4)}  7:2")
        if i % 4 == 0:
            parts.append(f"|abc\ts:{rng.random():.2f}e1 t")
        if i % 6 == 0:
            parts.append("|12:2 k")
        z += 0.3 * rng.gauss(0, 1)
        y = f"{1.5 + z:.4f}" if kind == "regression" else ("1" if z > 0 else "-1")
        head = y
        if i % 4 == 1:
            head += f" {rng.choice([0.5, 2, 3.25])}"
        if i % 8 == 1:
            head += f" {rng.choice([0.25, -0.5])}"
        if i % 17 == 16:
            head = ""
        if i % 7 == 0:
            head += f" 'tag{i}"
        elif i % 11 == 0:
            head += f" id{i}"
        yield head + ("" if i % 11 == 0 else " ") + " ".join(parts)


def run(data, options):
    with tempfile.TemporaryDirectory() as tmp:
        command = [sys.executable, "-m", "vowpalwabbit", "-d", data, "-p", f"{tmp}/p", *options]
        log = subprocess.run(command, check=True, capture_output=True, text=True)
        average = next(l for l in (log.stdout + log.stderr).splitlines() if l.startswith("average loss"))
        return [l.rstrip("\n") for l in open(f"{tmp}/p")], average.split("=")[1].strip()


if len(sys.argv) > 1:
    print(run(sys.argv[1], sys.argv[2:])[1])
    sys.exit()
for kind in ["regression", "binary"]:
    with open(f"{HERE}/vw_{kind}.vw", "w") as f:
        f.writelines(line + "\n" for line in lines(kind))
with open(f"{HERE}/vw_text.csv", "w") as summary:
    for name, kind, options in CASES:
        predictions, average = run(f"{HERE}/vw_{kind}.vw", options)
        assert len(predictions) == RECORDS
        with open(f"{HERE}/vw_{name}.csv", "w") as f:
            f.writelines(p + "\n" for p in predictions)
        summary.write(f"{name},{average}\n")
