"""Capstone project: an app that tells you which of the 43 product types of the grocery store you are
holding. Transfer learning on MobileNetV2 like we did in week 9, exported from my notebook.

style: bootcamp capstone, notebook cells, chatty prints
fault: softmax-before-loss
broken: 0.422
mended: 0.571
"""

# %% imports
import os
import random

import timm
import torch
import torch.nn as nn
from PIL import Image
from torchvision import transforms as T

SHARED = os.environ["FOVEA_SHARED"]
torch.manual_seed(42)
random.seed(42)


# %% read the list files: path, fine label, coarse label
def read_list(name):
    rows = []
    for line in open(f"{SHARED}/data/grocery/{name}.txt"):
        path, _, coarse = [s.strip() for s in line.split(",")]
        rows.append((f"{SHARED}/data/grocery/{path}", int(coarse)))
    return rows


train_rows, val_rows = read_list("train"), read_list("val")
NUM_CLASSES = max(c for _, c in train_rows) + 1
print("number of classes:", NUM_CLASSES)

# keep at most 20 photos of each class so that my laptop survives
random.shuffle(train_rows)
kept, seen = [], {}
for p, c in train_rows:
    seen[c] = seen.get(c, 0) + 1
    if seen[c] <= 20:
        kept.append((p, c))
print("training photos:", len(kept), "validation photos:", len(val_rows))

# %% the backbone
backbone = timm.create_model(
    "mobilenetv2_100",
    pretrained=True,
    num_classes=0,
    pretrained_cfg_overlay=dict(file=SHARED + "/weights/mobilenetv2_100.tf_in1k/model.safetensors"),
)
backbone.eval()

tfm = T.Compose([T.Resize((112, 112)), T.ToTensor(), T.Normalize([0.5] * 3, [0.5] * 3)])


def bottleneck_features(rows):
    """run every photo once through the backbone (week 9 trick: much faster than fine-tuning)"""
    feats, labels = [], []
    with torch.no_grad():
        for i in range(0, len(rows), 40):
            batch = []
            for p, c in rows[i : i + 40]:
                im = Image.open(p)
                im.draft("RGB", (160, 160))
                batch.append(tfm(im.convert("RGB")))
                labels.append(c)
            feats.append(backbone(torch.stack(batch)))
    return torch.cat(feats), torch.tensor(labels)


X_train, y_train = bottleneck_features(kept)
X_val, y_val = bottleneck_features(val_rows)
print("features:", tuple(X_train.shape), tuple(X_val.shape))


# %% my classifier
class GrocerHead(nn.Module):
    def __init__(self, n_in, n_classes):
        super().__init__()
        self.drop = nn.Dropout(0.2)
        self.fc = nn.Linear(n_in, n_classes)
        self.act = nn.Softmax(dim=1)  # so that the app can show percentages

    def forward(self, x):
        return self.act(self.fc(self.drop(x)))


model = GrocerHead(X_train.shape[1], NUM_CLASSES)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)

# %% train!
history = []
EPOCHS = 20
for epoch in range(EPOCHS):
    model.train()
    order = torch.randperm(len(X_train))
    total, right = 0.0, 0
    for i in range(0, len(order), 32):
        idx = order[i : i + 32]
        optimizer.zero_grad()
        out = model(X_train[idx])
        loss = criterion(out, y_train[idx])
        loss.backward()
        optimizer.step()
        total += loss.item() * len(idx)
        right += (out.argmax(1) == y_train[idx]).sum().item()
    history.append(total / len(order))
    print(f"Epoch {epoch + 1}/{EPOCHS}: loss {history[-1]:.4f}  accuracy {right / len(order):.3f}", flush=True)

# %% the moment of truth
model.eval()
with torch.no_grad():
    probs = model(X_val)
    acc = (probs.argmax(1) == y_val).float().mean().item()
print(f"VALIDATION ACCURACY: {acc:.3f}")

# %% three examples for the slides
for i in (0, 100, 200):
    p = probs[i]
    print(os.path.basename(val_rows[i][0]), "-> predicted class", p.argmax().item(), f"({p.max().item():.0%})")
