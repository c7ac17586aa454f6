"""The immutable picture of a cluster every decision is made on.

`wire` is what Kubernetes sends, `model` is what decisions read, `project` turns one into the
other, `dump` reads files, `rules` holds the scheduler's own filters and `movable` who may be
disturbed. Nothing here talks to a cluster: `fairstow.kube` does.
"""
