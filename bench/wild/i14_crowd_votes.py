"""Seven volunteers on our platform each read every digit of the 1930s field books; we train a reader on their
votes and check it against the curators' gold labels.

style: digital-humanities researcher, CSV tables, csv module
fault: noisy-labels
broken: 0.734
mended: 0.966
"""

import csv
import io

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

SEED = 1934
rng = np.random.default_rng(SEED)
torch.manual_seed(SEED)

digits = load_digits()
order = rng.permutation(len(digits.target))
train_ids, gold_ids = order[:1150], order[1150:]


def platform_dump():
    """The export of the platform: one row per (digit, volunteer)."""
    buf = io.StringIO()
    w = csv.writer(buf)
    w.writerow(["subject_id", "user", "value", "seconds"])
    skill = rng.uniform(0.58, 0.68, 7)
    for i in train_ids:
        for u in rng.permutation(7):
            truth = int(digits.target[i])
            value = truth if rng.random() < skill[u] else int(rng.integers(0, 10))
            w.writerow([i, f"volunteer_{u}", value, round(float(rng.gamma(2, 3)), 1)])
    return buf.getvalue()


def consensus(dump):
    """subject_id -> value read by the volunteers."""
    table = csv.DictReader(io.StringIO(dump))
    return {int(row["subject_id"]): int(row["value"]) for row in table}


class Reader(nn.Module):
    def __init__(self, hidden=160):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 10)
        )

    def forward(self, page):
        return self.layers(page.flatten(1))


def as_tensor(ids):
    return torch.tensor(digits.images[ids] / 8.0 - 0.61, dtype=torch.float32)


labels = consensus(platform_dump())
x = as_tensor(train_ids)
y = torch.tensor([labels[i] for i in train_ids])
x_gold, y_gold = as_tensor(gold_ids), torch.tensor(digits.target[gold_ids])
print(f"{len(x)} digits with votes, {len(x_gold)} curated digits")

reader = Reader()
optimiser = torch.optim.Adam(reader.parameters(), lr=1e-3)
criterion = nn.CrossEntropyLoss()
for epoch in range(1, 61):
    reader.train()
    total = 0.0
    for batch in torch.randperm(len(x)).split(32):
        loss = criterion(reader(x[batch]), y[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        total += loss.item() * len(batch)
    if epoch % 10 == 0:
        print(f"epoch {epoch}: {total / len(x):.3f}", flush=True)

reader.eval()
with torch.no_grad():
    agreement = (reader(x_gold).argmax(1) == y_gold).float().mean().item()
print(f"agreement with the curators: {agreement:.3f}")
