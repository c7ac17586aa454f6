"""Which versions of Kubernetes are supported. Called by the extender's profile and `doctor`."""

OLDEST, NEWEST = 28, 37
"""Minor versions of Kubernetes 1."""
