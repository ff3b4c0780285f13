"""Four weaves of fabric told apart with a small inverted-residual network, as small as the phone allows.

style: mobile network re-implementation, module constants on top
source: https://github.com/Cadene/pretrained-models.pytorch/issues/5
fault: batchnorm-momentum
accept: batchnorm-mode
broken: 0.49
mended: 1.00
"""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

_BN_MOMENTUM = 1 - 0.9997
_BN_EPS = 1e-3
WEAVES = ("plain", "twill", "basket", "herringbone")

torch.set_num_threads(1)


def weave(kind, rng, size=32):
    yy, xx = np.mgrid[:size, :size] + rng.integers(0, 16)
    if kind == "plain":
        pattern = (xx // 2 + yy // 2) % 2
    elif kind == "twill":
        pattern = (xx + yy) // 3 % 2
    elif kind == "basket":
        pattern = (xx // 4 + yy // 4) % 2
    else:
        pattern = np.where(xx // 8 % 2 == 0, xx + yy, xx - yy) // 3 % 2
    light = rng.uniform(0.6, 1.0) * (0.8 + 0.2 * np.cos(xx / size))
    rgb = rng.uniform(0.2, 0.9, 3)[:, None, None] * (0.7 + 0.3 * pattern) * light
    return (rgb + rng.normal(0, 0.08, rgb.shape)).astype(np.float32)


def conv_bn(cin, cout, kernel, stride=1, groups=1):
    return [
        nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(cout, eps=_BN_EPS, momentum=_BN_MOMENTUM),
    ]


class InvertedResidual(nn.Module):
    def __init__(self, cin, cout, stride, expansion):
        super().__init__()
        mid = cin * expansion
        self.skip = stride == 1 and cin == cout
        self.layers = nn.Sequential(
            *conv_bn(cin, mid, 1),
            nn.ReLU(inplace=True),
            *conv_bn(mid, mid, 3, stride, groups=mid),
            nn.ReLU(inplace=True),
            *conv_bn(mid, cout, 1),
        )

    def forward(self, x):
        return x + self.layers(x) if self.skip else self.layers(x)


class TinyMnas(nn.Module):
    def __init__(self, n_classes):
        super().__init__()
        self.layers = nn.Sequential(
            *conv_bn(3, 12, 3, 2),
            nn.ReLU(inplace=True),
            InvertedResidual(12, 16, 2, 3),
            InvertedResidual(16, 16, 1, 3),
            InvertedResidual(16, 32, 2, 3),
            InvertedResidual(32, 32, 1, 3),
        )
        self.classifier = nn.Linear(32, n_classes)

    def forward(self, x):
        return self.classifier(self.layers(x).mean((2, 3)))


def generator(n, batch_size, seed):
    rng = np.random.default_rng(seed)
    for _ in range(n // batch_size):
        labels = rng.integers(0, len(WEAVES), batch_size)
        images = np.stack([weave(WEAVES[k], rng) for k in labels])
        yield torch.from_numpy((images - 0.4) / 0.22), torch.from_numpy(labels)


if __name__ == "__main__":
    torch.manual_seed(0)
    model = TinyMnas(len(WEAVES))
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3, momentum=0.9, alpha=0.9, eps=1e-3)
    valid = list(generator(320, 64, seed=999))
    for epoch in range(7):
        model.train()
        n = right = 0
        for x, y in generator(960, 32, seed=epoch):
            out = model(x)
            loss = F.cross_entropy(out, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            right += (out.argmax(1) == y).sum().item()
            n += len(y)
        model.eval()
        with torch.no_grad():
            hits = sum((model(x).argmax(1) == y).sum().item() for x, y in valid)
        print(f"epoch {epoch}: train accuracy {right / n:.3f}, valid accuracy {hits / 320:.3f}")
