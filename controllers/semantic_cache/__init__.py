"""Semantic caches: configures the sidecars, reports on them and on pods that have none."""
