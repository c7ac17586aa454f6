"""OpenAI's API as clients see it: errors, answers and streams."""
