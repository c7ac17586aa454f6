"""Two users in one Spark application, as Spark orders them and as Fairstow does."""
