"""Imports every module of probes, which registers them."""

from fovea.doctor.probes import answers as answers
from fovea.doctor.probes import augmenting as augmenting
from fovea.doctor.probes import batches as batches
from fovea.doctor.probes import capacity as capacity
from fovea.doctor.probes import evaluating as evaluating
from fovea.doctor.probes import files as files
from fovea.doctor.probes import gradients as gradients
from fovea.doctor.probes import labels as labels
from fovea.doctor.probes import losses as losses
from fovea.doctor.probes import network as network
from fovea.doctor.probes import optimisers as optimisers
from fovea.doctor.probes import parameters as parameters
from fovea.doctor.probes import units as units
