"""Pharma line: are the vials under-filled?  About half of my test pictures are rejects.  The loss goes down nicely.

style: QA chemist, sklearn-like estimator with fit / predict_proba
fault: decision-threshold
accept: metric-wrong
broken: 0.466
mended: 0.992
"""

import numpy as np
import torch
import torch.nn as nn
from PIL import Image, ImageDraw, ImageFilter

rnd = np.random.RandomState(50)
torch.manual_seed(50)


def vial(reject):
    im = Image.new("RGB", (56, 80), tuple(int(v) for v in rnd.randint(190, 235, 3)))
    d = ImageDraw.Draw(im)
    top, bottom = 14 + rnd.randint(-3, 4), 72 + rnd.randint(-3, 4)
    left, right = 16 + rnd.randint(-3, 4), 40 + rnd.randint(-3, 4)
    d.rectangle([left, top, right, bottom], outline=(90, 100, 110), width=2, fill=(225, 230, 232))
    d.rectangle([left + 4, top - 8, right - 4, top], fill=tuple(int(v) for v in rnd.randint(60, 160, 3)))
    level = rnd.uniform(0.42, 0.57) if reject else rnd.uniform(0.63, 0.80)
    y = int(bottom - level * (bottom - top))
    tint = rnd.randint(-15, 15)
    d.rectangle([left + 2, y, right - 2, bottom - 2], fill=(185 + tint, 170 + tint, 120 + tint))
    d.line([left + 2, y, right - 2, y], fill=(120, 110, 90))
    if rnd.rand() < 0.5:
        ly = rnd.randint(top + 8, bottom - 18)
        d.rectangle([left + 4, ly, right - 4, ly + 8], fill=(240, 240, 240))
    if rnd.rand() < 0.4:
        gx = rnd.randint(left, right)
        d.line([gx, top, gx, bottom], fill=(250, 250, 250), width=2)
    im = im.filter(ImageFilter.GaussianBlur(rnd.uniform(0.5, 1.2))).resize((28, 40), Image.BILINEAR)
    return np.asarray(im, np.float32) + rnd.normal(0, 7, (40, 28, 3))


def pictures(n, share=0.5):
    y = (rnd.rand(n) < share).astype(np.float32)
    X = np.stack([vial(bool(v)) for v in y]).transpose(0, 3, 1, 2).astype(np.float32)
    return X, y


class FillClassifier:
    def __init__(self, epochs=12, batch_size=32, lr=1e-3):
        self.epochs, self.batch_size, self.lr = epochs, batch_size, lr
        self.model = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 70, 48),
            nn.ReLU(),
            nn.Linear(48, 1),
        )

    def _scale(self, X):
        return torch.from_numpy((X - self.mean_) / self.std_)

    def fit(self, X, y):
        self.mean_ = X.mean(axis=(0, 2, 3), keepdims=True)
        self.std_ = X.std(axis=(0, 2, 3), keepdims=True)
        Xt, yt = self._scale(X), torch.from_numpy(y)
        opt = torch.optim.Adam(self.model.parameters(), lr=self.lr)
        bce = nn.BCEWithLogitsLoss()
        for epoch in range(self.epochs):
            self.model.train()
            total = 0.0
            for i in torch.randperm(len(yt)).split(self.batch_size):
                opt.zero_grad()
                loss = bce(self.model(Xt[i])[:, 0], yt[i])
                loss.backward()
                opt.step()
                total += loss.item() * len(i)
            print(f"epoch {epoch + 1}: training loss {total / len(yt):.4f}")
        return self

    def predict_proba(self, X):
        self.model.eval()
        with torch.no_grad():
            out = [torch.sigmoid(self.model(b)[:, 0]) for b in self._scale(X).split(256)]
        return torch.cat(out)

    def predict(self, X, threshold=0.5):
        return (torch.sigmoid(self.predict_proba(X)) >= threshold).float().numpy()

    def score(self, X, y):
        return float(np.mean(self.predict(X) == y))


X_train, y_train = pictures(2000)
X_test, y_test = pictures(500)
clf = FillClassifier().fit(X_train, y_train)
verdict = clf.predict(X_test)
print("rejects found:", int(verdict[y_test == 1].sum()), "of", int(y_test.sum()))
print("false alarms :", int(verdict[y_test == 0].sum()), "of", int((1 - y_test).sum()))
print("accuracy     : %.4f" % clf.score(X_test, y_test))
