"""A small convolutional GAN on digits; figure: the share of the ten digits that its samples cover.

style: DCGAN tutorial, netG and netD, two Adam optimisers, real and fake labels
fault: none
broken: n/a
mended: 1.00
"""

import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from sklearn.svm import SVC
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(999)
nz = 24
batch_size = 64
num_epochs = 24
lr = 1e-3

digits = load_digits()
data = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 1
dataloader = DataLoader(TensorDataset(data), batch_size=batch_size, shuffle=True, drop_last=True)


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(nz, 64, 2, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(True),
            nn.ConvTranspose2d(64, 48, 4, 2, 1, bias=False),
            nn.BatchNorm2d(48),
            nn.ReLU(True),
            nn.ConvTranspose2d(48, 1, 4, 2, 1, bias=False),
            nn.Tanh(),
        )

    def forward(self, z):
        return self.main(z)


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(1, 48, 4, 2, 1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(48, 96, 4, 2, 1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Flatten(),
            nn.Linear(96 * 4, 1),
        )

    def forward(self, x):
        return self.main(x).squeeze(1)


netG, netD = Generator(), Discriminator()
criterion = nn.BCEWithLogitsLoss()
fixed_noise = torch.randn(500, nz, 1, 1)
optimizerD = torch.optim.Adam(netD.parameters(), lr=lr, betas=(0.5, 0.999))
optimizerG = torch.optim.Adam(netG.parameters(), lr=lr, betas=(0.5, 0.999))
judge = SVC().fit(digits.data, digits.target)

for epoch in range(num_epochs):
    for (real,) in dataloader:
        netD.zero_grad()
        label = torch.full((len(real),), 0.9)
        errD_real = criterion(netD(real), label)
        errD_real.backward()
        fake = netG(torch.randn(len(real), nz, 1, 1))
        errD_fake = criterion(netD(fake.detach()), torch.zeros(len(real)))
        errD_fake.backward()
        optimizerD.step()

        netG.zero_grad()
        errG = criterion(netD(fake), torch.ones(len(real)))
        errG.backward()
        optimizerG.step()
    print(f"[{epoch + 1}/{num_epochs}] Loss_D: {errD_real.item() + errD_fake.item():.3f} Loss_G: {errG.item():.3f}")

netG.eval()
with torch.no_grad():
    samples = ((netG(fixed_noise) + 1) * 8).flatten(1)
scores = judge.decision_function(samples.numpy())
kinds = torch.tensor(scores.argmax(1)).bincount(minlength=10)
real_flat = torch.tensor(digits.data, dtype=torch.float32)
nearest = torch.cdist(samples, real_flat).min(1).values.mean()
among_real = torch.cdist(real_flat[:500], real_flat[500:]).min(1).values.mean()
print("kinds of digits among the samples", kinds.tolist())
print(f"distance to the nearest real digit {nearest:.2f}, between real digits {among_real:.2f}")
