"""`make demo`: the main job, live, on a Kubernetes started for it on this machine."""
