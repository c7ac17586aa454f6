"""Serving in simulated time: the policies and the engine model of production, events made up."""
