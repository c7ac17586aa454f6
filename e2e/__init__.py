"""End-to-end tests on a real Kubernetes API server; e2e.controlplane provides one."""
