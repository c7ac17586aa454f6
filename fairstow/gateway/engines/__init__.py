"""Adapters: one protocol over the engines that serve a pool."""
