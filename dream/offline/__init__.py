"""An OpenAI-compatible server of small deterministic models, for running DREAM with no key and for tests.

Its models analyse text; they know nothing. Their scores say nothing about a real LLM.
"""
