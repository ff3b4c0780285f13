"""How labelled images lie on disk: one reader a file, registered in `base.FORMATS`, tried in that order."""

# The order of these imports is the order in which the formats are tried: `folder` takes whatever the others leave.
# isort: off
from fovea.data.formats import table as table
from fovea.data.formats import listfile as listfile
from fovea.data.formats import folder as folder

# isort: on
