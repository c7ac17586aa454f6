"""Serving on a real API server: gateways, drains, scaling."""
