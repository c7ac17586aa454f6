"""How long a client waits when its running request moves to another engine."""
