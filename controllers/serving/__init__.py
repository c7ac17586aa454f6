"""Serving on a cluster: drains, statuses and proposals for the gateways of each ServingPool."""
