"""Spark's fair queueing in simulated time, beside published figures."""
