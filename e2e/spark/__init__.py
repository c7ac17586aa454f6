"""Real Spark, of both lines, with and without Fairstow inside it."""
