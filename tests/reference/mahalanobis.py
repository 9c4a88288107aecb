"""Reference values of detect::gauss by plain linear algebra: needs numpy.

    python3 tests/reference/mahalanobis.py

Rows come from a formula, so that the test in src/detect/gauss.rs builds the same ones.
Every row after the first is standardized by the mean and deviation with the row itself counted
in; A = I + sum z z'; d2 = w' inv(A) w with w_j = sqrt(n_j + 1) z_j by the final statistics.
"""
import numpy as np


def row(i):
    return np.array([
        float(i * 7 % 17),
        100.0 + 3.0 * (i * 7 % 17) + float(i * 5 % 11),
        np.nan if i % 4 == 1 else 0.01 * float(i * i % 23),
    ])


rows = np.array([row(i) for i in range(60)])
d = rows.shape[1]
a = np.eye(d)
for n in range(1, len(rows) + 1):
    seen = rows[:n]
    mean, deviation = np.nanmean(seen, axis=0) if n > 1 else seen[0], np.nanstd(seen, axis=0)
    x = seen[-1]
    # A column that has not moved yet has no deviation to speak of.
    z = np.where(np.isnan(x) | (deviation == 0), 0.0, (x - mean) / np.where(deviation == 0, 1, deviation))
    a += np.outer(z, z)
count = np.sum(~np.isnan(rows), axis=0)
mean, deviation = np.nanmean(rows, axis=0), np.nanstd(rows, axis=0)
for query in ([3.0, 114.0, 0.1], [16.0, 100.0, 0.2], [8.0, np.nan, 0.5]):
    x = np.array(query)
    w = np.where(np.isnan(x), 0.0, (x - mean) / deviation * np.sqrt(count + 1.0))
    print(query, repr(float(w @ np.linalg.solve(a, w))))
