"""Text as a model reads it: rendered prompts, the paper's format and chat templates, escaping of what data says."""
