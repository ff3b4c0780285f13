"""Cross-validated accuracy of a small convnet on the digits.

style: k-fold notebook turned script, in-memory tensors, AdamW, mini-batches by randperm
fault: optimizer-misses-parameters
broken: 0.082
mended: 0.984
"""

import copy

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold

torch.manual_seed(42)
np.random.seed(42)

digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1)
labels = torch.tensor(digits.target)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.drop = nn.Dropout(0.2)
        self.fc1 = nn.Linear(32 * 4, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = self.drop(F.relu(self.fc1(x.flatten(1))))
        return self.fc2(x)


# every fold starts from the same weights, so that the folds can be compared
template = Net()
optimizer = torch.optim.AdamW(template.parameters(), lr=2e-3)
criterion = nn.CrossEntropyLoss()
EPOCHS, BATCH = 24, 32

scores = []
for fold, (tr, te) in enumerate(StratifiedKFold(5, shuffle=True, random_state=0).split(images, labels)):
    model = copy.deepcopy(template)
    mean, std = images[tr].mean(), images[tr].std()
    Xtr, ytr = (images[tr] - mean) / std, labels[tr]
    Xte, yte = (images[te] - mean) / std, labels[te]
    for epoch in range(EPOCHS):
        model.train()
        perm = torch.randperm(len(Xtr))
        epoch_loss = 0.0
        for b in range(0, len(perm), BATCH):
            i = perm[b : b + BATCH]
            optimizer.zero_grad()
            loss = criterion(model(Xtr[i]), ytr[i])
            loss.backward()
            optimizer.step()
            epoch_loss += loss.item() * len(i)
        if epoch % 4 == 3:
            print(f"fold {fold} epoch {epoch + 1}: loss {epoch_loss / len(Xtr):.4f}")
    model.eval()
    with torch.no_grad():
        acc = (model(Xte).argmax(1) == yte).float().mean().item()
    scores.append(acc)
    print(f"fold {fold}: accuracy {acc:.4f}")
print(f"5-fold accuracy: {np.mean(scores):.3f} +- {np.std(scores):.3f}")
