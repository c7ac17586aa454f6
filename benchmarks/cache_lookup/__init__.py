"""How fast the semantic cache looks up, and what it takes for that, beside its peers."""
