"""fovea's own networks: those that neither timm nor torchvision has. Importing this registers them, with timm too."""

from fovea.models.nets import inception_resnet_v1, inception_v2, lenet, nin, shufflenet_v1
from fovea.models.nets.registry import NETS

__all__ = ["NETS", "inception_resnet_v1", "inception_v2", "lenet", "nin", "shufflenet_v1"]
