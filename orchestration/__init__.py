"""Tollbook: the data warehouse for AI API spend."""
