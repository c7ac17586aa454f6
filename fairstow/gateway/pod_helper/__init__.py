"""The container beside an engine in its pod; `fairstow.serving.engine_pods` says what for."""
