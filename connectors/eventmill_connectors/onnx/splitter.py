"""Cutting texts into chunks that a model takes whole, at the ends of paragraphs, sentences or words."""

from functools import lru_cache

from semantic_text_splitter import TextSplitter
from tokenizers import Tokenizer

from eventmill_connectors.onnx.artifact import Artifact
from eventmill_connectors.onnx.tokens import load_tokenizer
from eventmill_schemas.errors import UsageError


class Splitter:
    """Cuts texts by the tokens of one model. Blocks, and releases the GIL: about 0.1 s for 10,000 characters."""

    def __init__(self, artifact: Artifact) -> None:
        self._tokenizer: Tokenizer = load_tokenizer(artifact)
        self._tokenizer.no_truncation()
        self.most = artifact.manifest.max_tokens or 0
        self._special = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        self._splitter = lru_cache(16)(self._made)   # a python step may ask for any sizes

    def limit(self, max_tokens: int | None) -> int:
        """Return how many tokens a chunk may have. Raises UsageError where no text fits, or the model takes fewer."""
        if max_tokens is None:
            return self.most
        if not self._special < max_tokens <= self.most:
            raise UsageError(f"chunks can have {self._special + 1} to {self.most} tokens, not {max_tokens}")
        return max_tokens

    def short(self, text: str, limit: int) -> bool:
        """Whether `text` is one chunk for certain: no token is shorter than a character. Quick."""
        return len(text) + self._special <= limit

    def split(self, text: str, limit: int, overlap: int) -> list[str]:
        """Return the chunks of `text`, without white space around them; none for a blank text."""
        if len(self._tokenizer.encode(text).ids) <= limit:
            return [whole] if (whole := text.strip()) else []
        chunks: list[str] = self._splitter(limit, min(overlap, limit - self._special - 1)).chunks(text)
        return [chunk for chunk in chunks if chunk.strip()]   # the splitter takes U+001F, among others, for a word

    def _made(self, limit: int, overlap: int) -> TextSplitter:
        return TextSplitter.from_huggingface_tokenizer(self._tokenizer, limit - self._special, overlap)
