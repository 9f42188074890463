//! The `LLMProgramServing` resource: what a user asks for.
