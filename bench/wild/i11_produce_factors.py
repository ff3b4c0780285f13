"""Identification of the vegetables of the store trial from phone pictures with a
pretrained network; ported from my R scripts, so read it like a tidyverse pipeline.

style: agronomist, R-like, data frames as lists of records, factors
fault: class-map
broken: 0.224
mended: 0.741
"""

import os

import timm
import torch
import torch.nn.functional as F
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

SHARED = os.environ["FOVEA_SHARED"]


# ---- little helpers that I miss from R ------------------------------------------------------
def read_csv(file, col_names):
    with open(file) as fh:
        return [dict(zip(col_names, (s.strip() for s in line.split(",")))) for line in fh]


def filter_(df, pred):
    return [r for r in df if pred(r)]


def mutate(df, **cols):
    return [{**r, **{k: f(r) for k, f in cols.items()}} for r in df]


def pull(df, col):
    return [r[col] for r in df]


def slice_head_by(df, col, n):
    out, seen = [], {}
    for r in df:
        seen[r[col]] = seen.get(r[col], 0) + 1
        if seen[r[col]] <= n:
            out.append(r)
    return out


def factor(x, levels=None):
    levels = sorted(set(x)) if levels is None else levels
    code = {v: i for i, v in enumerate(levels)}
    return [code[v] for v in x], levels


# ---- data -----------------------------------------------------------------------------------
def load_trial(part, n_max):
    df = read_csv(f"{SHARED}/data/grocery/{part}.txt", ("path", "fine", "coarse"))
    df = mutate(df, stand=lambda r: r["path"].split("/")[1], species=lambda r: r["path"].split("/")[2])
    df = filter_(df, lambda r: r["stand"] == "Vegetables")
    return slice_head_by(df, "species", n_max)


def pictures(df):
    xs = []
    for p in pull(df, "path"):
        with Image.open(f"{SHARED}/data/grocery/{p}") as im:
            im.draft("RGB", (160, 160))
            xs.append(pil_to_tensor(im.convert("RGB").resize((144, 144), Image.BICUBIC)))
    return torch.stack(xs).float() / 127.5 - 1


torch.manual_seed(1961)
train, test = load_trial("train", 36), load_trial("val", 36)
print("n train:", len(train), " n test:", len(test))

y_train, levels = factor(pull(train, "species"))
y_test, _ = factor(pull(test, "species"))
y_train, y_test = torch.tensor(y_train), torch.tensor(y_test)
print("number of levels:", len(levels))

# ---- model: fixed network, multinomial regression on top -------------------------------------
net = timm.create_model(
    "mobilenetv2_100",
    pretrained=True,
    num_classes=0,
    pretrained_cfg_overlay=dict(file=SHARED + "/weights/mobilenetv2_100.tf_in1k/model.safetensors"),
).eval()


@torch.no_grad()
def descriptors(df):
    x = pictures(df)
    return torch.cat([net(b) for b in x.split(32)])


d_train, d_test = descriptors(train), descriptors(test)
centre, spread = d_train.mean(0), d_train.std(0) + 1e-3
d_train, d_test = (d_train - centre) / spread, (d_test - centre) / spread

multinom = torch.nn.Linear(d_train.shape[1], len(levels))
opt = torch.optim.Adam(multinom.parameters(), lr=5e-4, weight_decay=1e-3)
for iteration in range(13):
    nll = 0.0
    for b in torch.randperm(len(d_train)).split(32):
        loss = F.cross_entropy(multinom(d_train[b]), y_train[b])
        opt.zero_grad()
        loss.backward()
        opt.step()
        nll += loss.item() * len(b)
    if iteration % 4 == 0:
        print(f"iter {iteration:3d}  -logLik/n {nll / len(d_train):.4f}", flush=True)

with torch.no_grad():
    fit = (multinom(d_train).argmax(1) == y_train).float().mean().item()
    pred = multinom(d_test).argmax(1)
    acc = (pred == y_test).float().mean().item()
print(f"resubstitution {fit:.3f}")
print(f"test accuracy  {acc:.3f}")
