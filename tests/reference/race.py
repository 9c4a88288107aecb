"""The race written a second time, plainly: one Python loop over lanes and features.

    pip install numpy
    python race.py

Writes race_{binary,regression}.csv beside itself: label, prediction, numbers. Differs from the
daemon's on purpose: steps are solved by bisection, sums run over numpy vectors, and for regression the
target is standardized anew at each record, every weight being rewritten so that it still predicts
the same.
"""
import math
import os

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
RATES = [0.5, 2.0, 8.0, 32.0]
WARM_UP = 8


def sigmoid(z):
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))


def implicit(margin, c):
    """s with s = c * sigmoid(-(margin + s))."""
    low, high = 0.0, c * sigmoid(-margin)
    for _ in range(200):
        s = (low + high) / 2
        low, high = (s, high) if s < c * sigmoid(-(margin + s)) else (low, s)
    return (low + high) / 2


def race(X, Y, regression):
    n, d = X.shape
    w, G, s = np.zeros((4, d + 1)), np.zeros((4, d + 1)), np.zeros(d + 1)
    N = T = 0.0
    mix = np.full(4, 0.25)
    variance, judged = 1.0, 0
    seen = []
    for i in range(n):
        z = np.zeros(d + 1)
        z[d] = 1
        if i >= 2:
            past = X[:i]
            deviation = np.maximum(past.std(axis=0), 1e-9 * abs(past).max(axis=0))
            z[:d] = np.clip((X[i] - past.mean(axis=0)) / deviation, -10, 10)
        y = Y[i]
        if regression and i < WARM_UP:
            seen.append(np.mean(Y[:i]) if i else 0.0)
            continue
        if regression:
            mean, unit = Y[:i].mean(), Y[:i].std()
            if i > WARM_UP:
                # The same predictions in today's units.
                ratio = old_unit / unit
                w *= ratio
                G *= ratio**2
                variance *= ratio**2
                w[:, d] += (old_mean - mean) / unit
            old_mean, old_unit = mean, unit
            t = (y - mean) / unit
            raw = w @ z
            low, high = Y[:i].min(), Y[:i].max()
            q = (np.clip(raw * unit + mean, low, high) - mean) / unit
            seen.append(mix @ q * unit + mean)
            e = (q - t) ** 2
            residual = (mix @ q - t) ** 2
            mix = mix * np.exp(-np.minimum(50, (e - e.min()) / (2 * variance + 1e-12)))
            judged += 1
            variance += max(1 / judged, 1e-3) * (residual - variance)
        else:
            t = 2 * y - 1
            raw = w @ z
            q = np.array([min(1 - 1e-4, max(1e-4, sigmoid(v))) for v in raw])
            seen.append(mix @ q)
            mix = mix * (q if y > 0 else 1 - q)
        mix = (1 - 1e-3) * mix / mix.sum() + 1e-3 / 4
        x = z != 0
        grown = x & (abs(z) > s)
        w[:, grown] *= s[grown] / abs(z[grown])
        s[grown] = abs(z[grown])
        N += ((z[x] / s[x]) ** 2).sum()
        T += 1
        m = math.sqrt(T / N)
        for k in range(4):
            g = 2 * (q[k] - t) if regression else -t * sigmoid(-t * raw[k])
            if abs(g) < 1e-15:
                continue
            G[k, x] += g**2 * z[x] ** 2
            direction = m * z[x] / (np.sqrt(G[k, x]) * s[x])
            kappa = direction @ z[x]
            if regression:
                u = (t - q[k]) * -math.expm1(-2 * RATES[k] * kappa) / kappa
            else:
                u = t * implicit(t * raw[k], RATES[k] * kappa) / kappa
            w[k, x] += u * direction
    return seen


rng = np.random.default_rng(3)
X = np.round(rng.normal(size=(300, 4)) * [1, 100, 0.01, 1] + [0, 5000, 1, 0], 6)
signal = X[:, 0] - (X[:, 1] - 5000) / 50 + (X[:, 2] - 1) * 50
signal = signal + np.where(np.arange(300) > 200, 2 * X[:, 3], 0)
noise = rng.normal(size=300)
for name, Y in (
    ("binary", (signal + noise > 0).astype(float)),
    ("regression", np.round(450 + 17 * signal + 5 * noise, 3)),
):
    with open(f"{HERE}/race_{name}.csv", "w") as f:
        for x, y, p in zip(X, Y, race(X, Y, name == "regression")):
            f.write(",".join(repr(float(v)) for v in (y, p, *x)) + "\n")
