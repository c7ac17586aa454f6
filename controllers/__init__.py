"""Reconcile loops, one folder per subsystem."""
