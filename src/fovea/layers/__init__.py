"""Layers, one family a file, each with a registry of named entries; and networks whose layers are exchanged.

>>> create("pool", "softpool", kernel_size=2)
SoftPool2d(kernel_size=(2, 2), stride=(2, 2), padding=(0, 0), dilation=(1, 1), ceil_mode=False)
>>> POOLING["lip"].summary
'Σ a e^G / Σ e^G, G a small network on the map (Gao 2019, §3)'
"""

from fovea.layers.activation import ACTIVATION as ACTIVATION
from fovea.layers.attention import ATTENTION as ATTENTION
from fovea.layers.convolution import CONVOLUTION as CONVOLUTION
from fovea.layers.convolution import dilation_fault as dilation_fault
from fovea.layers.families import FAMILIES as FAMILIES
from fovea.layers.families import create as create
from fovea.layers.heads import fully_connected as fully_connected
from fovea.layers.heads import fully_convolutional as fully_convolutional
from fovea.layers.initialisation import INITIALISATION as INITIALISATION
from fovea.layers.initialisation import initialise as initialise
from fovea.layers.normalisation import NORMALISATION as NORMALISATION
from fovea.layers.pooling import POOLING as POOLING
from fovea.layers.pretraining import pretrain_layerwise as pretrain_layerwise
from fovea.layers.recalibration import recalibrate as recalibrate
from fovea.layers.roi import ROI as ROI
from fovea.layers.roi import deformable_roi_align as deformable_roi_align
from fovea.layers.swapping import Swapped as Swapped
from fovea.layers.swapping import swap as swap
