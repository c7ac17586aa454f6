"""A day of openb-shaped churn on 120 nodes (see `__main__`)."""
