"""Fair queueing of Spark: pure decisions, applications on a cluster and stages inside one."""
