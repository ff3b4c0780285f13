"""Random changes to training images: place, colour and flaws on pixels; mixup and cutmix on batches."""

from fovea.data.augment.mixing import cutmix, mixup
from fovea.data.augment.pixels import Augment

__all__ = ["Augment", "cutmix", "mixup"]
