"""A cluster's cores, jobs, stages and tasks in simulated time, under any policy."""
