"""Queues of Spark applications: who is let go, who is charged, and what people are told."""
