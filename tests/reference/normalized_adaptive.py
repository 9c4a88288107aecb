"""What Vowpal Wabbit predicts: inputs and predictions of its default learner.

    pip install vowpalwabbit==9.11.*
    python normalized_adaptive.py

Writes normalized_adaptive_{squared,logistic,penalized,power}.csv beside itself: label, weight, VW's prediction, then
slot:value features. Feature names are numbers, which VW takes as slots as they are (without a
namespace); the constant's own slot is left out.
"""
import os
import random
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))


def stream(kind, n=400):
    rng = random.Random(7)
    weights = {j: rng.gauss(0, 1) for j in range(1, 40)}
    for i in range(n):
        slots = sorted(rng.sample(range(1, 40), 6))
        # One feature comes in large units, one twice in a record.
        x = [(j, round(rng.gauss(0, 1) * (1000 if j == 5 else 1), 4)) for j in slots]
        if i % 7 == 0:
            x.append(x[0])
        z = sum(weights[j] * v * (0.001 if j == 5 else 1) for j, v in x) + 0.3 * rng.gauss(0, 1)
        y = round(3 + 2 * z, 4) if kind == "squared" else (1 if z > 0 else -1)
        yield y, rng.choice([1, 1, 1, 2.5, 0.5]), x


def main(name, kind, options):
    records = list(stream(kind))
    with tempfile.TemporaryDirectory() as tmp:
        data, out = f"{tmp}/data", f"{tmp}/out"
        with open(data, "w") as f:
            for y, h, x in records:
                f.write(f"{y} {h} | " + " ".join(f"{j}:{v}" for j, v in x) + "\n")
        command = [sys.executable, "-m", "vowpalwabbit", "-d", data, "-p", out, "--quiet"]
        command += ["--loss_function", kind, *options]
        subprocess.run(command, check=True)
        predictions = [line.split()[0] for line in open(out)]
    with open(f"{HERE}/normalized_adaptive_{name}.csv", "w") as f:
        for (y, h, x), p in zip(records, predictions, strict=True):
            f.write(f"{y},{h},{p}," + ",".join(f"{j}:{v}" for j, v in x) + "\n")


main("squared", "squared", [])
main("logistic", "logistic", [])
main("penalized", "logistic", ["--noconstant", "--l1", "1e-3", "--l2", "1e-3"])
main("power", "squared", ["--power_t", "0.4", "-l", "0.3", "--initial_t", "1"])
