"""`make demo-serving`: an engine is drained under running requests, and nobody notices."""
