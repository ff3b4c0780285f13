"""Losses, one family a file, all called as `loss(scores, target)` and registered by name in `LOSSES`.

>>> import torch
>>> LOSSES["focal"].build(gamma=2.0)(torch.zeros(4, 10), torch.arange(4)).round(decimals=3)  # 0.81 ln 10
tensor(1.8650)
"""

from fovea.losses import adversarial as adversarial
from fovea.losses import classes as classes
from fovea.losses import distributions as distributions
from fovea.losses import embedding as embedding
from fovea.losses import focal as focal
from fovea.losses import margin_softmax as margin_softmax
from fovea.losses import margins as margins
from fovea.losses import perceptual as perceptual
from fovea.losses import regression as regression
from fovea.losses import segmentation as segmentation
from fovea.losses.base import LOSSES as LOSSES
from fovea.losses.base import Loss as Loss
