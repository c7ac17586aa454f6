"""Serving: dispatch, live migration, drain and scaling of LLM engines, as pure decisions."""
