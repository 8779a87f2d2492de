"""Signed server-side sessions and a streaming LLM chat for Django."""
