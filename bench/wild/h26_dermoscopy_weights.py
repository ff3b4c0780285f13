"""Dermoscopy simulator with four diagnoses; the dangerous ones are rare. I weight the loss by class and look at
the mean recall, because accuracy means nothing to a clinic.

style: medical resident, class weights, confusion matrix
fault: imbalance
broken: 0.446
mended: 0.848
"""

import numpy as np
import torch
import torch.nn as nn
from scipy.ndimage import gaussian_filter
from torch.utils.data import DataLoader, TensorDataset

rng = np.random.RandomState(303)
torch.manual_seed(303)
DIAGNOSES = ["nevus", "keratosis", "carcinoma", "melanoma"]
TRAIN_COUNTS = [1300, 260, 70, 50]
S = 32


def lesion(k):
    yy, xx = np.mgrid[:S, :S]
    cx, cy = rng.uniform(13, 19, 2)
    a = np.arctan2(yy - cy, xx - cx)
    rag = {0: 0.5, 1: 0.9, 2: 0.8, 3: 1.5}[k]
    radius = rng.uniform(7, 9.5) + sum(rag * rng.randn() * np.cos(j * a + rng.rand() * 6) / j for j in (2, 3, 4, 5))
    m = gaussian_filter((np.hypot(xx - cx, yy - cy) < radius).astype(float), 0.9)
    skin = np.array([0.85, 0.68, 0.58]) * rng.uniform(0.9, 1.08)
    tone = np.array([0.50, 0.33, 0.24]) * rng.uniform(0.85, 1.2)
    tex = gaussian_filter(rng.randn(S, S), 1.5)
    tex = tex / tex.std()
    pigment = np.ones((S, S, 3)) * tone
    if k == 0:
        pigment += 0.03 * tex[..., None]
    elif k == 1:
        dots = gaussian_filter((rng.rand(S, S) > 0.94).astype(float), 0.8)
        pigment += 0.55 * dots[..., None]
    elif k == 2:
        pigment += np.array([0.12, 0.05, 0.06]) * np.abs(tex)[..., None]
    else:
        pigment -= 0.11 * (tex > 0.5)[..., None] * np.array([1, 1, 0.3])
    img = skin * (1 - m[..., None]) + pigment * m[..., None] + rng.randn(S, S, 3) * 0.05
    return img.transpose(2, 0, 1).astype(np.float32)


def cohort(counts):
    x = np.stack([lesion(k) for k, n in enumerate(counts) for _ in range(n)])
    y = np.repeat(np.arange(4), counts)
    return TensorDataset(torch.from_numpy((x - 0.55) / 0.2), torch.from_numpy(y))


def class_weights(labels, n_classes):
    counts = torch.bincount(labels, minlength=n_classes).float()
    weights = counts / counts.sum()
    return weights * n_classes


def confusion(model, loader, n_classes):
    cm = torch.zeros(n_classes, n_classes, dtype=torch.long)
    model.eval()
    with torch.no_grad():
        for x, y in loader:
            p = model(x).argmax(1)
            for t, q in zip(y, p):
                cm[t, q] += 1
    return cm


def stage(i, o):
    return nn.Sequential(nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(), nn.MaxPool2d(2))


train_set, test_set = cohort(TRAIN_COUNTS), cohort([120, 120, 120, 120])
train_loader = DataLoader(train_set, batch_size=56, shuffle=True)
test_loader = DataLoader(test_set, batch_size=120)
model = nn.Sequential(
    stage(3, 16), stage(16, 32), stage(32, 48), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 4)
)
criterion = nn.CrossEntropyLoss(weight=class_weights(train_set.tensors[1], 4))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

for epoch in range(12):
    model.train()
    run = 0.0
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        run += loss.item()
    cm = confusion(model, test_loader, 4)
    recall = cm.diag() / cm.sum(1)
    print(f"epoch {epoch + 1:2d} loss {run / len(train_loader):.4f} recalls " + " ".join(f"{r:.2f}" for r in recall))

print(cm)
print(f"mean recall {recall.mean():.4f}")
