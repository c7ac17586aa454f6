"""How safe the semantic cache is: hits that were due against traps, on public question pairs."""
