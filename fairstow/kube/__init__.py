"""The only room that imports a Kubernetes client."""
