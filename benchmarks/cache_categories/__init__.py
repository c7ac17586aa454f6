"""One policy for all against one for each category, by the published economics."""
