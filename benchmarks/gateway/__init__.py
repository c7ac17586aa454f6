"""What the gateway costs beside a plain reverse proxy."""
