"""Whether a stored answer may be served for another question: pure decisions, no I/O."""
