"""Placement by priority: find it, prove it, order it, check it, explain it."""
