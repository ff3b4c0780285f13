"""Temple or flower? Patches of the two sample photos in sklearn, wrapped so that it drops into my GridSearch later.

style: scikit-learn estimator (BaseEstimator, fit/predict_proba/predict/score), one logit
fault: train-eval-transform
accept: not-normalised
broken: 0.524
mended: 0.999
"""

import numpy as np
import torch
import torch.nn as nn
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_sample_image
from sklearn.metrics import accuracy_score
from sklearn.utils.validation import check_is_fitted


class PatchNetClassifier(ClassifierMixin, BaseEstimator):
    """Small convolutional network on uint8 patches of shape (n, h, w, 3)."""

    def __init__(self, width=16, epochs=10, lr=3e-3, batch_size=64, random_state=0, verbose=0):
        self.width = width
        self.epochs = epochs
        self.lr = lr
        self.batch_size = batch_size
        self.random_state = random_state
        self.verbose = verbose

    def _build(self):
        w = self.width
        return nn.Sequential(
            nn.Conv2d(3, w, 3, 2, 1),
            nn.BatchNorm2d(w),
            nn.ReLU(),
            nn.Conv2d(w, 2 * w, 3, 2, 1),
            nn.BatchNorm2d(2 * w),
            nn.ReLU(),
            nn.Conv2d(2 * w, 4 * w, 3, 2, 1),
            nn.BatchNorm2d(4 * w),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4 * w, 1),
        )

    @staticmethod
    def _tensor(X):
        return torch.from_numpy(np.ascontiguousarray(X)).permute(0, 3, 1, 2).float() / 255

    def fit(self, X, y):
        torch.manual_seed(self.random_state)
        self.classes_, codes = np.unique(y, return_inverse=True)
        x = self._tensor(X)
        self.mean_ = x.mean((0, 2, 3), keepdim=True)
        self.scale_ = x.std((0, 2, 3), keepdim=True)
        x = (x - self.mean_) / self.scale_
        t = torch.from_numpy(codes).float()
        self.net_ = self._build()
        opt = torch.optim.Adam(self.net_.parameters(), lr=self.lr)
        lossf = nn.BCEWithLogitsLoss()
        self.net_.train()
        for epoch in range(self.epochs):
            total = 0.0
            for idx in torch.randperm(len(x)).split(self.batch_size):
                loss = lossf(self.net_(x[idx]).squeeze(1), t[idx])
                opt.zero_grad()
                loss.backward()
                opt.step()
                total += loss.item() * len(idx)
            if self.verbose:
                print(f"[PatchNet] epoch {epoch + 1}/{self.epochs} loss={total / len(x):.4f}")
        self.net_.eval()
        return self

    @torch.no_grad()
    def decision_function(self, X):
        check_is_fitted(self, "net_")
        x = self._tensor(X)
        return torch.cat([self.net_(b).squeeze(1) for b in x.split(256)]).numpy()

    def predict_proba(self, X):
        p = 1 / (1 + np.exp(-self.decision_function(X)))
        return np.c_[1 - p, p]

    def predict(self, X):
        return self.classes_[(self.decision_function(X) > 0).astype(int)]


def patches(photo, columns, n, rng, size=32):
    lo, hi = columns
    out = []
    for _ in range(n):
        y = rng.integers(0, photo.shape[0] - size)
        x = rng.integers(lo, hi - size)
        p = photo[y : y + size, x : x + size].astype(np.float32)
        # different exposures, so that colour alone does not give it away
        p = p * rng.uniform(0.6, 1.3) + rng.normal(0, 8, p.shape)
        out.append(p.clip(0, 255).astype(np.uint8))
    return np.stack(out)


def main():
    rng = np.random.default_rng(13)
    photos = {"flower": load_sample_image("flower.jpg"), "temple": load_sample_image("china.jpg")}
    data = {}
    for part, cols, n in (("train", (0, 400), 1300), ("test", (400, 640), 400)):
        X = np.concatenate([patches(p, cols, n, rng) for p in photos.values()])
        data[part] = X, np.repeat(list(photos), n)
    clf = PatchNetClassifier(epochs=12, verbose=1, random_state=13).fit(*data["train"])
    X, y = data["test"]
    print(f"accuracy on the right third of the photos: {accuracy_score(y, clf.predict(X)):.3f}")


if __name__ == "__main__":
    main()
