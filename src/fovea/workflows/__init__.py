"""One function per verb: the only place that composes the rooms. Command line, web and Python API call these."""
