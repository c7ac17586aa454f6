"""What serving policies are worth, in the simulator, beside what was published."""
