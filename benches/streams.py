"""Seeded streams for the benchmarks, each in every format that a program under test reads.

- dense: 20 numbers and a linear teacher with noise; the label a quantity, or its sign.
- sparse: about 85 words of a Zipf vocabulary of 50,000 and a logistic teacher; the label 1 or -1.

The same seed gives the same records in every format, so losses can be compared.
"""

import bisect
import itertools
import math
import random
from pathlib import Path

NUMBERS = 20
VOCABULARY = 50_000
WORDS = 85


def dense(records, seed=20260101):
    """Rows of (label, numbers)."""
    rng = random.Random(seed)
    teacher = [rng.gauss(0, 1) for _ in range(NUMBERS)]
    for _ in range(records):
        x = [round(rng.gauss(0, 1), 6) for _ in range(NUMBERS)]
        yield round(sum(w * v for w, v in zip(teacher, x)) + rng.gauss(0, 0.5), 6), x


def sparse(records, seed=20260102):
    """Rows of (label, distinct words)."""
    rng = random.Random(seed)
    teacher = [rng.gauss(0, 0.7) for _ in range(VOCABULARY)]
    cumulative = list(itertools.accumulate(1 / (rank + 10) for rank in range(VOCABULARY)))
    total = cumulative[-1]
    for _ in range(records):
        words = {bisect.bisect(cumulative, rng.random() * total) for _ in range(WORDS)}
        words = sorted(min(word, VOCABULARY - 1) for word in words)
        score = sum(teacher[word] for word in words) / 4
        label = 1 if rng.random() < 1 / (1 + math.exp(-score)) else -1
        yield label, words


def write(folder, kind, records):
    """The files of a stream by format, made where they are not there yet."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    formats = {
        "dense": ["json", "csv", "vw", "sign.vw"],
        "sparse": ["json", "vw"],
    }[kind]
    paths = {f: folder / f"{kind}-{records}.{f}" for f in formats}
    if all(path.exists() for path in paths.values()):
        return paths
    partial = {f: open(path.with_name(path.name + ".partial"), "w") for f, path in paths.items()}
    if kind == "dense":
        partial["csv"].write("_label," + ",".join(f"x{j}" for j in range(NUMBERS)) + "\n")
        for y, x in dense(records):
            fields = ",".join(f'"x{j}":{v!r}' for j, v in enumerate(x))
            partial["json"].write(f'{{"_label":{y!r},{fields}}}\n')
            partial["csv"].write(f"{y!r}," + ",".join(map(repr, x)) + "\n")
            features = " ".join(f"x{j}:{v!r}" for j, v in enumerate(x))
            partial["vw"].write(f"{y!r} | {features}\n")
            partial["sign.vw"].write(f"{1 if y > 0 else -1} | {features}\n")
    else:
        for y, words in sparse(records):
            fields = ",".join(f'"w{w}":1' for w in words)
            partial["json"].write(f'{{"_label":{y},{fields}}}\n')
            partial["vw"].write(f"{y} | " + " ".join(f"w{w}" for w in words) + "\n")
    for f, file in partial.items():
        file.close()
        Path(file.name).rename(paths[f])
    return paths
