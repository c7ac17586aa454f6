"""Fairstow: a scheduling control plane for shared GPU clusters on Kubernetes."""
