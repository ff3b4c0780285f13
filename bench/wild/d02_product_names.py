"""Product group classifier on a small home-made CNN, names taken from classes.csv.

style: Kaggle kernel, csv tables and scikit-learn helpers, everything in memory
fault: class-map
broken: 0.142
mended: 0.571
"""

import csv
import os

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from PIL import Image
from sklearn.preprocessing import LabelEncoder

SEED = 2021
IMG = 40
EPOCHS = 9
BS = 32
ROOT = os.path.join(os.environ["FOVEA_SHARED"], "data/grocery")

torch.manual_seed(SEED)
np.random.seed(SEED)
torch.set_num_threads(1)

# ---------------------------------------------------------------- tables
with open(os.path.join(ROOT, "classes.csv")) as f:
    rows = list(csv.DictReader(f))
group_name = {int(r["Coarse Class ID (int)"]): r["Coarse Class Name (str)"] for r in rows}


def read_table(name):
    paths, groups = [], []
    for line in open(os.path.join(ROOT, name)):
        p, _, c = line.strip().split(", ")
        paths.append(p)
        groups.append(group_name[int(c)])
    return paths, groups


def read_images(paths):
    out = np.zeros((len(paths), IMG, IMG, 3), np.uint8)
    for i, p in enumerate(paths):
        im = Image.open(os.path.join(ROOT, p))
        im.draft("RGB", (IMG * 2, IMG * 2))
        out[i] = np.asarray(im.convert("RGB").resize((IMG, IMG), Image.BILINEAR))
    return out


train_paths, train_groups = read_table("train.txt")
valid_paths, valid_groups = read_table("val.txt")
X_train, X_valid = read_images(train_paths), read_images(valid_paths)

le = LabelEncoder()
y_train = le.fit_transform(train_groups)
n_classes = len(le.classes_)
y_valid = le.fit_transform(valid_groups)
print("images", X_train.shape, X_valid.shape, "classes", n_classes)

mu = X_train.reshape(-1, 3).mean(0) / 255
sd = X_train.reshape(-1, 3).std(0) / 255


def to_tensor(a):
    a = (a.astype(np.float32) / 255 - mu) / sd
    return torch.tensor(a.transpose(0, 3, 1, 2), dtype=torch.float32)


def augment(a, rng):
    out = a.copy()
    for i in range(len(out)):
        if rng.random() < 0.5:
            out[i] = out[i][:, ::-1]
        dy, dx = rng.integers(-4, 5, 2)
        out[i] = np.roll(out[i], (dy, dx), (0, 1))
    return out


# ---------------------------------------------------------------- network
def conv(i, o, s=1):
    return nn.Sequential(nn.Conv2d(i, o, 3, s, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True))


net = nn.Sequential(
    conv(3, 24),
    conv(24, 32, 2),
    conv(32, 48),
    conv(48, 64, 2),
    conv(64, 96),
    conv(96, 128, 2),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.Dropout(0.2),
    nn.Linear(128, n_classes),
)
opt = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-2)
steps = EPOCHS * (len(X_train) // BS)
sched = torch.optim.lr_scheduler.OneCycleLR(opt, max_lr=4e-3, total_steps=steps)
rng = np.random.default_rng(SEED)
Xv, yv = to_tensor(X_valid), torch.tensor(y_valid)
yt = torch.tensor(y_train)

for epoch in range(EPOCHS):
    net.train()
    order = rng.permutation(len(X_train))
    tot = 0.0
    correct = 0
    nb = len(order) // BS
    for b in range(nb):
        idx = order[b * BS : (b + 1) * BS]
        xb = to_tensor(augment(X_train[idx], rng))
        yb = yt[idx]
        logits = net(xb)
        loss = F.cross_entropy(logits, yb)
        opt.zero_grad(set_to_none=True)
        loss.backward()
        opt.step()
        sched.step()
        tot += loss.item()
        correct += int((logits.argmax(1) == yb).sum())
    net.eval()
    with torch.no_grad():
        lv = torch.cat([net(Xv[i : i + 64]) for i in range(0, len(Xv), 64)])
    print(
        "Epoch %2d  loss %.4f  acc %.4f  val_loss %.4f  val_acc %.4f"
        % (
            epoch + 1,
            tot / nb,
            correct / (nb * BS),
            F.cross_entropy(lv, yv).item(),
            (lv.argmax(1) == yv).float().mean().item(),
        ),
        flush=True,
    )
