"""Queues of Spark applications on a real API server."""
