"""The semantic cache beside an application or an engine."""
