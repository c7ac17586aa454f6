"""Whether the semantic cache's error budget holds, and how soon drift is seen."""
