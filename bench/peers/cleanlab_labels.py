"""cleanlab as its guide teaches it: out-of-sample probabilities by cross-validation, then ranked label issues.

The probabilities are those of scikit-learn's logistic regression in five folds, on the pooled features of a frozen timm
model with timm's own preprocessing. Reads `path,label,split` and writes, for each way of ranking, the score of every
row (low is suspicious), and the rows that `find_label_issues` names, most suspicious first.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import timm
import torch
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from table import read_table
from timm.data import create_transform, resolve_model_data_config
from torch.utils.data import DataLoader, Dataset

RANKINGS = ("self_confidence", "normalized_margin")


class Photos(Dataset):
    """The images as the model wants them."""

    def __init__(self, paths: list[str], transform) -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        with Image.open(self.paths[index]) as image:
            return self.transform(image.convert("RGB"))


def main() -> None:
    """Compute features and probabilities, rank, and write both rankings."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cores", type=int, required=True)
    given = parser.parse_args()
    torch.set_num_threads(given.cores)
    images = read_table(given.table)["train"]
    targets = np.array(images.targets)
    started = time.perf_counter()
    features = extract(images.paths, given.weights, given.cores)
    seconds = {"features": time.perf_counter() - started}
    started = time.perf_counter()
    model = LogisticRegression(max_iter=1000)
    probabilities = cross_val_predict(model, features, targets, cv=5, method="predict_proba", n_jobs=given.cores)
    seconds["probabilities"] = time.perf_counter() - started
    answer = {"seconds": seconds, "accuracy": float((probabilities.argmax(1) == targets).mean())}
    for ranking in RANKINGS:
        issues = find_label_issues(targets, probabilities, return_indices_ranked_by=ranking, n_jobs=given.cores)
        scores = get_label_quality_scores(targets, probabilities, method=ranking)
        answer[ranking] = {"issues": issues.tolist(), "scores": scores.tolist()}
    given.out.write_text(json.dumps(answer), encoding="utf-8")


@torch.inference_mode()
def extract(paths: list[str], weights: Path, cores: int) -> np.ndarray:
    """Return pooled features, shape (N, C)."""
    model = timm.create_model(f"local-dir:{weights}", pretrained=True, num_classes=0).eval()
    transform = create_transform(**resolve_model_data_config(model))
    loader = DataLoader(Photos(paths, transform), batch_size=32, num_workers=cores)
    return torch.cat([model(batch) for batch in loader]).numpy()


if __name__ == "__main__":
    main()
