"""A stand-in for model providers: answers OpenAI's chat completions without a model, from the text it was sent."""
