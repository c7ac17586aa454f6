"""What load adaptation takes off an overloaded model, and what it costs in wrong hits."""
