"""Kubernetes for programs that stay: requests, watches, leadership, events; all asynchronous."""
