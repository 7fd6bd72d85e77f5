"""An OpenAI-compatible server of small deterministic models, for tests and for DREAM without an API key.

The models are rule-based text analysis without any knowledge. Their scores say nothing about a real LLM.
"""
