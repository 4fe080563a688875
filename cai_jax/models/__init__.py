"""The Flax decoder, its scalar head, its tokenizer, and its checkpoints in the Hugging Face layout."""
