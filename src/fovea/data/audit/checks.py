"""Every check of the audit: importing this module registers them, in the order in which they are run."""

# isort: off
from fovea.data.audit import storage as storage
from fovea.data.audit import quality as quality
from fovea.data.audit import duplicates as duplicates
from fovea.data.audit import torn as torn
from fovea.data.audit import metadata as metadata
from fovea.data.audit import background as background
from fovea.data.audit import balance as balance
from fovea.data.audit import drift as drift
from fovea.data.audit import channels as channels
from fovea.data.audit import labels as labels
from fovea.data.audit import outliers as outliers

# isort: on
from fovea.data.audit.base import CHECKS, FEATURE_CHECKS

__all__ = ["CHECKS", "FEATURE_CHECKS"]
