"""What ten thousand Spark applications that wait cost on a live API server."""
