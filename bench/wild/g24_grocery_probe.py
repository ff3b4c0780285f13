"""Fruit, vegetable or package? How far do you get on shop photos with an untouched ImageNet MobileNet and only a linear readout? Full-batch L-BFGS, no shuffling needed, heavy L2.

style: timm local-dir weights, cached features, torch.optim.LBFGS with a closure
fault: none
mended: 0.882
"""

import os
import time

import numpy as np
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from timm.data import create_transform, resolve_model_data_config

SHARED = os.environ["FOVEA_SHARED"]
GROCERY = os.path.join(SHARED, "data", "grocery")
SIDE = 128
AISLES = ["Fruit", "Packages", "Vegetables"]


def listing(name, cap):
    with open(os.path.join(GROCERY, name)) as f:
        rows = [line.split(",") for line in f]
    np.random.default_rng(2).shuffle(rows)
    taken, out = {}, []
    for path, fine, coarse in rows:
        taken[coarse] = taken.get(coarse, 0) + 1
        if taken[coarse] <= cap:
            out.append((path.strip(), AISLES.index(path.split("/")[1])))
    return sorted(out)


@torch.inference_mode()
def features(backbone, rows, transform):
    out, chunk = [], []
    for i, (path, _) in enumerate(rows):
        im = Image.open(os.path.join(GROCERY, path))
        im.draft("RGB", (180, 180))
        chunk.append(transform(im.convert("RGB")))
        if len(chunk) == 32 or i == len(rows) - 1:
            out.append(backbone(torch.stack(chunk)))
            chunk = []
    return torch.cat(out)


def main():
    torch.manual_seed(2)
    t0 = time.time()
    backbone = (
        timm.create_model(
            "local-dir:" + os.path.join(SHARED, "weights", "mobilenetv2_100.tf_in1k"), pretrained=True, num_classes=0
        )
        .eval()
        .requires_grad_(False)
    )
    cfg = resolve_model_data_config(backbone)
    cfg.update(input_size=(3, SIDE, SIDE), crop_pct=1.0)
    transform = create_transform(**cfg, is_training=False)
    train, val = listing("train.txt", 30), listing("val.txt", 100)
    a, b = features(backbone, train, transform), features(backbone, val, transform)
    ya, yb = (torch.tensor([k for _, k in rows]) for rows in (train, val))
    print(f"{len(train)} + {len(val)} photos to {a.shape[1]} features in {time.time() - t0:.0f}s")
    a, b = a.sqrt().clamp(max=3), b.sqrt().clamp(max=3)
    mean = a.mean(0)
    a, b = F.normalize(a - mean, dim=1) * 12, F.normalize(b - mean, dim=1) * 12

    n = len(AISLES)
    w = torch.zeros(a.shape[1], n, requires_grad=True)
    bias = torch.zeros(n, requires_grad=True)
    opt = torch.optim.LBFGS([w, bias], lr=1.0, max_iter=12, history_size=10, line_search_fn="strong_wolfe")

    def closure():
        opt.zero_grad()
        loss = F.cross_entropy(a @ w + bias, ya) + 1e-2 * w.square().sum()
        loss.backward()
        return loss

    for k in range(5):
        loss = opt.step(closure)
        print(f"round {k}: objective {loss.item():.4f}")
    with torch.no_grad():
        acc = ((b @ w + bias).argmax(1) == yb).float().mean().item()
    print(f"validation accuracy over {n} aisles: {acc:.3f}")


if __name__ == "__main__":
    main()
