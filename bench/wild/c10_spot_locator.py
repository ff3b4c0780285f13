"""Regresses the position of a light spot on a noisy sensor; the penalty on the weights is written out by hand.

style: forum post, loop over a list of batches, custom regularisation term
source: https://discuss.pytorch.org/t/how-does-one-implement-weight-regularization-l1-or-l2-manually-without-optimum/7951
fault: weight-decay-high
broken: 0.17
mended: 0.88
"""

import torch
import torch.nn as nn

torch.manual_seed(1)
torch.set_num_threads(1)


def sensor(n, size=20, generator=None):
    """Pictures with one spot, the position in [-1, 1], and the second dim spot that disturbs."""
    pos = torch.rand(n, 2, generator=generator) * 1.6 - 0.8
    other = torch.rand(n, 2, generator=generator) * 1.6 - 0.8
    axis = torch.linspace(-1, 1, size)
    yy, xx = torch.meshgrid(axis, axis, indexing="ij")

    def spot(p, strength, width):
        d = (xx - p[:, 0, None, None]) ** 2 + (yy - p[:, 1, None, None]) ** 2
        return strength * torch.exp(-d / width)

    img = spot(pos, 1.0, 0.02) + spot(other, 0.5, 0.02) + 0.1 * torch.randn(n, size, size, generator=generator)
    return ((img - 0.1) / 0.2).unsqueeze(1), pos


class Locator(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 12, 5, stride=2, padding=2)
        self.conv2 = nn.Conv2d(12, 24, 3, padding=1)
        self.fc1 = nn.Linear(24 * 25, 64)
        self.fc2 = nn.Linear(64, 2)

    def forward(self, x):
        x = torch.relu(self.conv1(x))
        x = torch.relu(self.conv2(nn.functional.max_pool2d(x, 2)))
        x = torch.relu(self.fc1(x.flatten(1)))
        return self.fc2(x)


gen = torch.Generator().manual_seed(7)
x_train, y_train = sensor(2000, generator=gen)
x_val, y_val = sensor(400, generator=gen)
model = Locator()
mse = nn.MSELoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
reg_lambda = 0.1

for epoch in range(12):
    model.train()
    epoch_loss = 0.0
    for idx in torch.randperm(2000).split(32):
        l2_reg = 0.0
        for W in model.parameters():
            l2_reg = l2_reg + W.norm(2)
        data_loss = mse(model(x_train[idx]), y_train[idx])
        loss = data_loss + reg_lambda * l2_reg
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        epoch_loss += data_loss.item() * len(idx)
    model.eval()
    with torch.no_grad():
        error = (model(x_val) - y_val).norm(dim=1)
    r2 = 1 - error.pow(2).mean() / (y_val - y_val.mean(0)).pow(2).sum(1).mean()
    print(
        f"epoch {epoch + 1:2d} mse {epoch_loss / 2000:.4f} mean error {error.mean():.3f} "
        f"within 0.1: {(error < 0.1).float().mean():.3f} R2 {r2:.3f}"
    )
