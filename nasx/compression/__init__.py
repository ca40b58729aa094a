"""Smaller transformers: plain modules, cut out of a model, that keep to hard limits."""
