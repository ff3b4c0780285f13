"""Fruit, vegetables or packages: transfer learning notebook with one big dataset and random_split.

style: notebook turned into a script, random_split
fault: augmented-validation
accept: train-eval-transform, augmentation-too-strong
broken: 0.652
mended: 0.747
"""

# %% imports
import os
from glob import glob

import torch
import torch.nn as nn
import timm
from PIL import Image
from torch.utils.data import DataLoader, Dataset, random_split
from torchvision import transforms as T

torch.manual_seed(0)
torch.set_num_threads(1)

# %% data
SHARED = os.environ["FOVEA_SHARED"]
DATA = f"{SHARED}/data/grocery"
kinds = ["Fruit", "Vegetables", "Packages"]
files = sorted(glob(f"{DATA}/train/*/**/*.jpg", recursive=True))[::2]
targets = [kinds.index(os.path.relpath(f, DATA).split(os.sep)[1]) for f in files]

tfm = T.Compose(
    [
        T.RandomResizedCrop(64, scale=(0.1, 0.6)),
        T.RandomHorizontalFlip(),
        T.RandomRotation(40),
        T.ColorJitter(0.5, 0.5, 0.5, 0.2),
        T.RandomGrayscale(0.2),
        T.ToTensor(),
        T.Normalize([0.5, 0.5, 0.5], [0.5, 0.5, 0.5]),
        T.RandomErasing(0.5, scale=(0.05, 0.3)),
    ]
)


class Food(Dataset):
    def __init__(self, files, targets, tfm):
        self.files, self.targets, self.tfm = files, targets, tfm
        self.mem = {}

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        if i not in self.mem:
            im = Image.open(self.files[i])
            im.draft("RGB", (116, 116))
            self.mem[i] = im.convert("RGB")
        return self.tfm(self.mem[i]), self.targets[i]


full = Food(files, targets, tfm)
n_val = int(0.3 * len(full))
train_ds, val_ds = random_split(full, [len(full) - n_val, n_val], generator=torch.Generator().manual_seed(0))
train_dl = DataLoader(train_ds, 32, shuffle=True, drop_last=True)
val_dl = DataLoader(val_ds, 64)
len(train_ds), len(val_ds)

# %% model
model = timm.create_model("local-dir:" + SHARED + "/weights/mobilenetv2_100.tf_in1k", pretrained=True)
model.classifier = nn.Sequential(nn.BatchNorm1d(1280), nn.Linear(1280, 3))
opt = torch.optim.AdamW(
    [
        {"params": [p for n, p in model.named_parameters() if "classifier" not in n], "lr": 3e-4},
        {"params": model.classifier.parameters(), "lr": 1e-3},
    ],
    weight_decay=0.01,
)
lossf = nn.CrossEntropyLoss()

# %% train
EPOCHS = 3
sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, EPOCHS * len(train_dl))
for ep in range(EPOCHS):
    model.train()
    tl = ta = n = 0
    for x, y in train_dl:
        out = model(x)
        loss = lossf(out, y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        sched.step()
        tl += loss.item() * len(y)
        ta += (out.argmax(1) == y).sum().item()
        n += len(y)
    model.eval()
    vl = va = m = 0
    with torch.no_grad():
        for x, y in val_dl:
            out = model(x)
            vl += lossf(out, y).item() * len(y)
            va += (out.argmax(1) == y).sum().item()
            m += len(y)
    print(f"epoch {ep}: loss {tl / n:.3f} acc {ta / n:.3f} | val loss {vl / m:.3f} val acc {va / m:.3f}", flush=True)
