"""Small users beside power users in one real Spark application, by who orders its stages."""
