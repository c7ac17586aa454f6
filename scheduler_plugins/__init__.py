"""The scheduler-extender service and its plugins."""
