"""A TensorFlow 1 tutorial ported to PyTorch: the deep MNIST network on 8 x 8 digits at double size.

style: port of an older TensorFlow script
fault: dropout-misuse
broken: 0.11
mended: 0.99
"""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

KEEP_PROB = 0.9
BATCH = 50
STEPS = 300


class Feed:
    """next_batch(), as in input_data.read_data_sets()."""

    def __init__(self, images, labels, rng):
        self.images, self.labels, self.rng = images, labels, rng
        self.cursor = len(images)

    def next_batch(self, size):
        if self.cursor + size > len(self.images):
            self.order, self.cursor = self.rng.permutation(len(self.images)), 0
        index = self.order[self.cursor : self.cursor + size]
        self.cursor += size
        return self.images[index], self.labels[index]


def weight_variable(shape):
    w = torch.empty(shape)
    nn.init.trunc_normal_(w, std=0.1)
    return nn.Parameter(w)


def bias_variable(n):
    return nn.Parameter(torch.full((n,), 0.1))


class DeepNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.w_conv1, self.b_conv1 = weight_variable((32, 1, 5, 5)), bias_variable(32)
        self.w_conv2, self.b_conv2 = weight_variable((64, 32, 3, 3)), bias_variable(64)
        self.w_fc1, self.b_fc1 = weight_variable((128, 4 * 4 * 64)), bias_variable(128)
        self.w_fc2, self.b_fc2 = weight_variable((10, 128)), bias_variable(10)
        self.drop = nn.Dropout(KEEP_PROB)

    def forward(self, x):
        h = F.max_pool2d(F.relu(F.conv2d(x, self.w_conv1, self.b_conv1, padding=2)), 2)
        h = F.max_pool2d(F.relu(F.conv2d(self.drop(h), self.w_conv2, self.b_conv2, padding=1)), 2)
        h = F.relu(F.linear(self.drop(h).reshape(len(h), -1), self.w_fc1, self.b_fc1))
        return F.linear(self.drop(h), self.w_fc2, self.b_fc2)


def main():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    digits = load_digits()
    images = digits.images.repeat(2, axis=1).repeat(2, axis=2)[:, None]
    images = torch.tensor((images - 4.88) / 6.0, dtype=torch.float32)
    labels = torch.tensor(digits.target)
    order = rng.permutation(len(images))
    train, test = order[:1200], order[1200:]
    feed = Feed(images[train], labels[train], rng)

    model = DeepNN()
    train_step = torch.optim.Adam(model.parameters(), lr=1e-3)
    for i in range(STEPS + 1):
        xs, ys = feed.next_batch(BATCH)
        model.train()
        cross_entropy = F.cross_entropy(model(xs), ys)
        train_step.zero_grad()
        cross_entropy.backward()
        train_step.step()
        if i % 50 == 0:
            model.eval()
            with torch.no_grad():
                accuracy = (model(images[test]).argmax(1) == labels[test]).float().mean()
            print(f"step {i}, loss {cross_entropy:.3f}, test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
