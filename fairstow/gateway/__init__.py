"""The LLM gateway: an OpenAI-compatible proxy that can move running requests between engines."""
