"""Six textures (gratings, checks, dots, noise) as uint8 images and a plain convolutional network.

style: functional, names imported from torch.nn.functional
fault: normalised-twice
accept: not-normalised
"""

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, max_pool2d, relu
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.functional import to_tensor

KINDS = ["horizontal", "vertical", "diagonal", "checks", "dots", "grain"]


def texture(kind, rng, size=32):
    y, x = np.mgrid[0:size, 0:size].astype(float)
    period, phase = rng.uniform(5, 10), rng.uniform(0, 10)
    wave = 2 * np.pi / period
    if kind == 0:
        z = np.sin(wave * y + phase)
    elif kind == 1:
        z = np.sin(wave * x + phase)
    elif kind == 2:
        z = np.sin(wave * (x + y) / 1.4 + phase)
    elif kind == 3:
        z = np.sign(np.sin(wave * x + phase) * np.sin(wave * y + phase))
    elif kind == 4:
        z = np.sin(wave * x + phase) * np.sin(wave * y + phase)
        z = np.where(z > 0.6, 1.0, -1.0)
    else:
        z = rng.normal(0, 0.7, (size, size))
    z = z * rng.uniform(0.3, 0.8) + rng.normal(0, 0.35, (size, size))
    tint = rng.uniform(0.6, 1.0, 3)
    image = (0.5 + 0.4 * z[..., None]) * tint
    return (image.clip(0, 1) * 255).astype(np.uint8)


class Textures(Dataset):
    def __init__(self, n, seed):
        rng = np.random.default_rng(seed)
        self.labels = rng.integers(0, len(KINDS), n)
        self.images = [texture(k, rng) for k in self.labels]

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return to_tensor(self.images[index]), int(self.labels[index])


class TextureNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1 = nn.Conv2d(3, 16, 5, padding=2)
        self.c2 = nn.Conv2d(16, 32, 3, padding=1)
        self.c3 = nn.Conv2d(32, 32, 3, padding=1)
        self.out = nn.Linear(32, len(KINDS))

    def forward(self, x):
        x = max_pool2d(relu(self.c1(x)), 2)
        x = max_pool2d(relu(self.c2(x)), 2)
        x = relu(self.c3(x))
        return self.out(x.mean(dim=(2, 3)))


def prepare(batch):
    images, labels = batch
    return images / 255.0, labels


torch.manual_seed(3)
train = DataLoader(Textures(1500, 10), batch_size=30, shuffle=True)
test = DataLoader(Textures(600, 11), batch_size=100)
net = TextureNet()
optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
for epoch in range(7):
    net.train()
    for batch in train:
        images, labels = prepare(batch)
        loss = cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    right = total = 0
    with torch.no_grad():
        for batch in test:
            images, labels = prepare(batch)
            right += int((net(images).argmax(1) == labels).sum())
            total += len(labels)
    print(f"epoch {epoch}: last loss {loss.item():.4f}, test accuracy {right / total:.4f}")
