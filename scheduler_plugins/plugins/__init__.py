"""What the extender decides: pure functions, and the state they need kept up to date."""
