"""Whether one tenant can tell by the time what another has cached; see `__main__`."""
