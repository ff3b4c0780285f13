"""How far does a linear read-out of a frozen ImageNet network go on supermarket photos, 43 coarse classes, no
fine-tuning at all? That is the question of this baseline, so the backbone stays as it is.

style: research baseline, cached features, timm MobileNetV2 from a local folder
fault: none
mended: 0.679
"""

import csv
import os
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torchvision import transforms as T

SHARED = Path(os.environ["FOVEA_SHARED"])
ROOT = SHARED / "data" / "grocery"
PER_CLASS = 40
torch.manual_seed(0)
rng = np.random.default_rng(0)


def read_list(name):
    with open(ROOT / name) as f:
        return [(row[0].strip(), int(row[2])) for row in csv.reader(f)]


def subsample(rows, k):
    by = defaultdict(list)
    for r in rows:
        by[r[1]].append(r)
    out = []
    for c in sorted(by):
        pick = rng.permutation(len(by[c]))[:k]
        out += [by[c][i] for i in pick]
    return out


prep = T.Compose(
    [
        T.Resize(160),
        T.CenterCrop(160),
        T.ToTensor(),
        T.Normalize([0.5] * 3, [0.5] * 3),
    ]
)


@torch.inference_mode()
def embed(backbone, rows):
    feats, labels = [], []
    for i in range(0, len(rows), 32):
        x = torch.stack([prep(Image.open(ROOT / p).convert("RGB")) for p, _ in rows[i : i + 32]])
        feats.append(backbone(x))
        labels += [y for _, y in rows[i : i + 32]]
    return torch.cat(feats).clone(), torch.tensor(labels)


def main():
    t0 = time.time()
    backbone = timm.create_model(
        f"local-dir:{SHARED / 'weights' / 'mobilenetv2_100.tf_in1k'}", pretrained=True, num_classes=0
    ).eval()
    for p in backbone.parameters():
        p.requires_grad_(False)

    train_rows, val_rows = subsample(read_list("train.txt"), PER_CLASS), read_list("val.txt")
    xtr, ytr = embed(backbone, train_rows)
    xva, yva = embed(backbone, val_rows)
    xtr, ytr, xva, yva = xtr.clone(), ytr.clone(), xva.clone(), yva.clone()
    print(f"{len(xtr)} train and {len(xva)} val embeddings in {time.time() - t0:.0f} s")

    n_cls = int(ytr.max()) + 1
    probe = nn.Sequential(nn.BatchNorm1d(xtr.shape[1], affine=False), nn.Linear(xtr.shape[1], n_cls))
    # strong decoupled decay: 1280 inputs, some fifteen hundred examples
    opt = torch.optim.AdamW(probe.parameters(), lr=2e-3, weight_decay=2.0)
    steps = 400
    sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: min(1, (s + 1) / 20) * (1 - s / steps))
    for s in range(steps):
        probe.train()
        idx = torch.randint(0, len(xtr), (256,))
        loss = F.cross_entropy(probe(xtr[idx]), ytr[idx], label_smoothing=0.1)
        opt.zero_grad()
        loss.backward()
        opt.step()
        sched.step()
        if s % 50 == 49:
            probe.eval()
            with torch.no_grad():
                acc = (probe(xva).argmax(1) == yva).float().mean().item()
            print(f"step {s + 1:4d} loss {loss.item():.3f} val top-1 {acc:.3f}")
    print(f"top-1 over {n_cls} classes: {acc:.4f}")


if __name__ == "__main__":
    main()
