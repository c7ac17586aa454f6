"""The program `fairstow`, also installed as `kubectl-fairstow`."""
