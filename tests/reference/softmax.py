"""The softmax learner written a second time with numpy: one rate, three classes, slots.

    pip install numpy
    python softmax.py

Writes softmax.csv beside itself: class, probabilities of the classes (3, of which unknown ones are 0),
then slot:value features. Classes are numbered as they come.
"""
import math
import os

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
RATE = 0.5
LEAST = 1e-4


def softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


def run(records, slots, classes):
    w = np.zeros((classes, slots + 1))
    G = np.zeros((classes, slots + 1))
    s = np.zeros(slots + 1)
    N = T = 0.0
    known = 0
    out = []
    for i, (y, x) in enumerate(records):
        z = w[:known] @ x
        p = softmax(z) * (1 - known * LEAST) + LEAST if known else np.array([])
        out.append(np.concatenate([p, np.zeros(classes - known)]))
        if y == known:
            # As likely as one record of all those so far.
            w[known, slots] = np.log(np.exp(z).sum()) - math.log(i + 1) if known else 0.0
            known += 1
            z = w[:known] @ x
        g = softmax(z) - (np.arange(known) == y)
        used = x != 0
        grown = used & (abs(x) > s)
        w[:, grown] *= s[grown] / abs(x[grown])
        s[grown] = abs(x[grown])
        N += ((x[used] / s[used]) ** 2).sum()
        T += 1
        m = math.sqrt(T / N)
        squares = np.outer(g**2, x**2)
        G[:known] += squares
        step = np.zeros((known, slots + 1))
        touched = G[:known] > 0
        rate = np.zeros_like(step)
        rate[touched] = 1 / np.sqrt(G[:known][touched])
        step[:, used] = -m * g[:, None] * x[used] * rate[:, used] / s[used]
        kappa = step @ x

        def slope(a):
            return (softmax(z + a * kappa) - (np.arange(known) == y)) @ kappa

        start = slope(0.0)
        if start < 0:
            low, high = 0.0, RATE
            for _ in range(200):
                a = (low + high) / 2
                low, high = (a, high) if a < RATE * slope(a) / start else (low, a)
            w[:known] += a * step
    return out


rng = np.random.default_rng(5)
slots, classes = 12, 3
truth = rng.normal(size=(classes, slots))
records = []
for i in range(300):
    x = np.zeros(slots + 1)
    x[slots] = 1
    used = rng.choice(slots, 4, replace=False)
    x[used] = np.round(rng.normal(size=4) * np.where(used == 3, 10, 1), 3)
    y = int(np.argmax(truth @ x[:slots] + 0.3 * rng.normal(size=classes)))
    records.append((y, x))
order = list(dict.fromkeys(y for y, _ in records))
records = [(order.index(y), x) for y, x in records]
with open(f"{HERE}/softmax.csv", "w") as f:
    for (y, x), p in zip(records, run(records, slots, classes)):
        features = [f"{j}:{float(x[j])!r}" for j in range(slots) if x[j]]
        f.write(",".join([str(y), *(repr(float(v)) for v in p), *features]) + "\n")
