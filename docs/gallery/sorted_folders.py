"""Custom Dataset: the loss goes up and down in waves and the network forgets what it knew."""

import torch
from sklearn.datasets import load_digits
from torch import nn, optim
from torch.utils.data import DataLoader, Dataset


class DigitFolders(Dataset):
    """One folder for each class, walked in order, as os.walk does it."""

    def __init__(self):
        digits = load_digits()
        order = digits.target[:1500].argsort(kind="stable")
        self.images, self.labels = digits.images[:1500][order], digits.target[:1500][order]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, idx):
        return torch.from_numpy(self.images[idx]).float().unsqueeze(0) / 8 - 1, int(self.labels[idx])


torch.manual_seed(0)
loader = DataLoader(DigitFolders(), batch_size=30)
model = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(576, 10))
opt = optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
for epoch in range(4):
    for step, (img, lab) in enumerate(loader):
        opt.zero_grad()
        loss = nn.functional.cross_entropy(model(img), lab)
        loss.backward()
        opt.step()
        if step % 10 == 0:
            print(f"[{epoch}, {step}] {loss.item():.3f}")
