"""Scikit-learn's figures for a few hundred predictions.

    pip install scikit-learn
    python evaluation.py

Writes evaluation.csv beside itself. Lines "figure,NAME,VALUE" first; then of each record
"record,binary label,probability,class,class said,number,number said,weight".
"""
import os

import numpy as np
from sklearn import metrics

HERE = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(11)
n = 500
y = rng.integers(0, 2, n)
p = np.round(1 / (1 + np.exp(-(2 * y - 1 + 1.5 * rng.normal(size=n)))), 3)
w = rng.choice([1.0, 2.0], n)
c = rng.integers(0, 5, n)
said = np.where(rng.random(n) < 0.6, c, rng.integers(0, 5, n))
v = np.round(rng.normal(450, 17, n), 3)
v_said = np.round(v + rng.normal(0, 5, n), 3)
figures = {
    "accuracy": metrics.accuracy_score(y, p > 0.5, sample_weight=w),
    "auc": metrics.roc_auc_score(y, p, sample_weight=w),
    "f1": metrics.f1_score(y, p > 0.5, sample_weight=w),
    "log_loss": metrics.log_loss(y, p, sample_weight=w),
    "macro_f1": metrics.f1_score(c, said, average="macro", sample_weight=w),
    "class_accuracy": metrics.accuracy_score(c, said, sample_weight=w),
    "mae": metrics.mean_absolute_error(v, v_said, sample_weight=w),
    "rmse": metrics.root_mean_squared_error(v, v_said, sample_weight=w),
    "r2": metrics.r2_score(v, v_said, sample_weight=w),
    "unweighted_auc": metrics.roc_auc_score(y, p),
    "average_precision": metrics.average_precision_score(y, p),
    "precision": metrics.precision_score(y, p > 0.7),
    "recall": metrics.recall_score(y, p > 0.7),
}
with open(f"{HERE}/evaluation.csv", "w") as f:
    for name, value in figures.items():
        f.write(f"figure,{name},{float(value)!r}\n")
    for r in zip(y, p, c, said, v, v_said, w):
        f.write("record," + ",".join(str(x) for x in r) + "\n")
