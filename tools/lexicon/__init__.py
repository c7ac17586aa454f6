"""Makes the guard's English lexicon from WordNet 3.0."""
