"""A pipeline and its cluster: what has to change so that they fit, and how far the work is."""
