//! OpenAI's requests and responses, the subset that is spoken; unknown fields are kept.
