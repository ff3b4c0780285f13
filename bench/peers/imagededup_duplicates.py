"""imagededup as its guide teaches it: encode a folder, find duplicates; a hash at several radii, or the CNN.

The CNN's own weights are downloaded when it starts. `--weights` gives it, through its CustomModel, a local timm folder
with timm's own preprocessing instead. Writes the pairs that it claims, each once, by setting.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from imagededup import methods
from imagededup.utils import CustomModel


def main() -> None:
    """Encode, search at each setting, and write pairs and seconds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--method", required=True, choices=["PHash", "DHash", "WHash", "AHash", "CNN"])
    parser.add_argument("--settings", nargs="+", required=True, help="radii, or the CNN's least similarities")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cores", type=int, required=True)
    given = parser.parse_args()
    torch.set_num_threads(given.cores)
    if given.method == "CNN":
        method = methods.CNN(verbose=False, model_config=custom_model(given.weights) if given.weights else None)
    else:
        method = getattr(methods, given.method)(verbose=False)
    started = time.perf_counter()
    encodings = method.encode_images(image_dir=given.folder, recursive=True, num_enc_workers=given.cores)
    seconds = {"encode": time.perf_counter() - started}
    rows = {str(name): row for row, name in enumerate(encodings)}
    answer = {"names": np.array(list(rows))}
    for setting in given.settings:
        started = time.perf_counter()
        if given.method == "CNN":
            found = method.find_duplicates(
                encoding_map=encodings, min_similarity_threshold=float(setting), num_sim_workers=given.cores
            )
        else:
            found = method.find_duplicates(
                encoding_map=encodings, max_distance_threshold=int(setting), num_dist_workers=given.cores
            )
        seconds[setting] = time.perf_counter() - started
        answer[setting] = pairs_of(found, rows)
    np.savez(given.out, **answer)
    given.out.with_suffix(".json").write_text(json.dumps(seconds), encoding="utf-8")


def custom_model(weights: Path) -> CustomModel:
    """Return a timm model that gives pooled features, with its own preprocessing."""
    import timm
    from timm.data import create_transform, resolve_model_data_config

    model = timm.create_model(f"local-dir:{weights}", pretrained=True, num_classes=0).eval()
    return CustomModel(name=weights.name, model=model, transform=create_transform(**resolve_model_data_config(model)))


def pairs_of(found: dict[str, list[str]], rows: dict[str, int]) -> np.ndarray:
    """Return the row numbers of each pair once, shape (P, 2)."""
    first = np.repeat([rows[str(name)] for name in found], [len(others) for others in found.values()])
    second = np.array([rows[str(other)] for others in found.values() for other in others], dtype=np.int64)
    pairs = np.sort(np.column_stack([first.astype(np.int64), second]), axis=1)
    return np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0).astype(np.int32)


if __name__ == "__main__":
    main()
