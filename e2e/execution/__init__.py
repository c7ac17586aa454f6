"""Plans that are carried out on a real API server and scheduler; docs/testing.md lists them."""
