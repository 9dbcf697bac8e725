"""The name of the figure that scores may have, for planning and for the build."""

NEIGHBOURS = "neighbours.png"
"""Samples beside the training images that they are nearest to, where a metric is about these."""
