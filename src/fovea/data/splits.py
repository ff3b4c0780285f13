"""Splits and folds: what is held out, so that a model is judged on images it has not seen.

`with_splits` holds out one validation split, `with_folds` deals the training images into folds that are held out in
turn, `one_fold` is the data of one such training. Images of one group, copies of one image and look-alikes stay on one
side; the choice follows from the content and the seed, not from the order or the names of the files. The manifest keeps
the result and says in a finding how it came about.
"""

from __future__ import annotations

from fovea.data.splitting.folds import fold_count, one_fold, with_folds
from fovea.data.splitting.holdout import with_splits

__all__ = ["fold_count", "one_fold", "with_folds", "with_splits"]
