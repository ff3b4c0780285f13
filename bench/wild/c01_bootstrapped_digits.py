"""Small digit reader; the training answers come from our pre-annotation step, the test answers from the archive.

style: notebook turned into a script, cells marked, tensors kept in memory, manual batching
fault: noisy-labels
broken: 0.78
mended: 0.99
"""

# %% imports
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

torch.manual_seed(3)
torch.set_num_threads(1)
rng = np.random.RandomState(3)

# %% data
bunch = load_digits()
order = rng.permutation(len(bunch.data))
X, Y = bunch.data[order] / 16.0, bunch.target[order]
pool_x, pool_y = X[:1300], Y[:1300]
test_x, test_y = X[1300:], Y[1300:]

# %% pre-annotation: two pictures of each kind were marked by hand, the tool marks the rest
seeds = np.concatenate([np.flatnonzero(pool_y == c)[:2] for c in range(10)])
tool = KNeighborsClassifier(n_neighbors=1).fit(pool_x[seeds], pool_y[seeds])
marks = tool.predict(pool_x)
marks[seeds] = pool_y[seeds]
print("marks per class", np.bincount(marks, minlength=10))

# %% tensors
mean, std = pool_x.mean(), pool_x.std()
xt = torch.tensor((pool_x - mean) / std, dtype=torch.float32).view(-1, 1, 8, 8)
yt = torch.tensor(marks, dtype=torch.long)
xv = torch.tensor((test_x - mean) / std, dtype=torch.float32).view(-1, 1, 8, 8)
yv = torch.tensor(test_y, dtype=torch.long)

# %% model
model = nn.Sequential(
    nn.Conv2d(1, 24, 3, padding=1, bias=False),
    nn.BatchNorm2d(24),
    nn.ReLU(),
    nn.Conv2d(24, 48, 3, padding=1, bias=False),
    nn.BatchNorm2d(48),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(48 * 16, 64),
    nn.ReLU(),
    nn.Linear(64, 10),
)
opt = torch.optim.Adam(model.parameters(), lr=1e-3)

# %% fit
BS = 50
history = {"loss": [], "acc": [], "val_acc": []}
for epoch in range(12):
    model.train()
    perm = torch.randperm(len(xt))
    loss_sum = right = 0
    for i in range(0, len(xt), BS):
        idx = perm[i : i + BS]
        out = model(xt[idx])
        loss = F.cross_entropy(out, yt[idx])
        opt.zero_grad()
        loss.backward()
        opt.step()
        loss_sum += loss.item() * len(idx)
        right += (out.argmax(1) == yt[idx]).sum().item()
    model.eval()
    with torch.no_grad():
        val_acc = (model(xv).argmax(1) == yv).float().mean().item()
    history["loss"].append(loss_sum / len(xt))
    history["acc"].append(right / len(xt))
    history["val_acc"].append(val_acc)
    print(f"{epoch + 1:2d}  loss {history['loss'][-1]:.4f}  acc {history['acc'][-1]:.4f}  test acc {val_acc:.4f}")
