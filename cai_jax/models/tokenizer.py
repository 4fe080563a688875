"""Text to token ids and back, by the model's own tokenizer files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers

from cai_jax.models.config import Config, ModelError

# Kept byte for byte when a model is saved again.
_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """A model's tokenizer, for text that may be hostile.

    Attributes:
      eos_id: ends a reply; bos_id, pad_id: None where the model has none.
      special_ids: ids that no text may yield.
      vocab_size: number of ids, added tokens included.
    """

    _backend: tokenizers.Tokenizer
    _files: Mapping[str, str]
    eos_id: int
    bos_id: int | None
    pad_id: int | None
    special_ids: frozenset[int]
    vocab_size: int

    @classmethod
    def load(cls, path: str | Path, config: Config) -> Tokenizer:
        """Read a model directory's tokenizer; raises ModelError if it is missing, broken or too large."""
        path = Path(path)
        files = {name: (path / name).read_text("utf-8") for name in _FILES if (path / name).is_file()}
        if "tokenizer.json" not in files:
            files["tokenizer.json"] = _convert(path)
        try:
            settings = json.loads(files.get("tokenizer_config.json", "{}"))
            backend = tokenizers.Tokenizer.from_str(files["tokenizer.json"])
        except Exception as error:  # the tokenizers package raises plain Exception
            raise ModelError(f"{path}: the tokenizer's files cannot be read ({error}); fetch them again") from None
        if backend.get_vocab_size() > config.vocab_size:
            raise ModelError(
                f"{path / 'tokenizer.json'} has {backend.get_vocab_size()} tokens, but the model only "
                f"{config.vocab_size}; they belong to different models"
            )
        return cls._build(backend, files, settings, config)

    @classmethod
    def _build(
        cls,
        backend: tokenizers.Tokenizer,
        files: Mapping[str, str],
        settings: Mapping[str, Any],
        config: Config,
    ) -> Tokenizer:
        def named(role: str, otherwise: int | None) -> int | None:
            token = settings.get(role)
            content = token.get("content") if isinstance(token, dict) else token
            return otherwise if content is None else backend.token_to_id(content)

        eos = named("eos_token", config.eos_ids[0] if config.eos_ids else None)
        if eos is None:
            raise ModelError("neither tokenizer_config.json nor config.json names an end-of-text token (eos_token)")
        bos, pad = named("bos_token", config.bos_id), named("pad_token", config.pad_id)
        added = backend.get_added_tokens_decoder()
        special = {number for number, token in added.items() if token.special}
        special |= {number for number in (eos, bos, pad, *config.eos_ids) if number is not None}
        # Tokens that end or pad text count as special even if the file forgot to mark them so.
        contents = [backend.id_to_token(number) for number in sorted(special)]
        backend.add_special_tokens([content for content in contents if content is not None])
        backend.encode_special_tokens = True  # "encode as the text they are", says its documentation
        backend.no_truncation()
        backend.no_padding()
        return cls(backend, files, eos, bos, pad, frozenset(special), backend.get_vocab_size())

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, none of them special, whatever the text says."""
        return self._backend.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, special ones left out."""
        return self._backend.decode([number for number in ids if number not in self.special_ids])

    def same_as(self, other: Tokenizer) -> bool:
        """Whether both give every text the same ids, because they were read from equal files."""
        return self._files["tokenizer.json"] == other._files["tokenizer.json"]

    def save(self, path: str | Path) -> None:
        """Write the files it was read from into a model directory."""
        for name, content in self._files.items():
            (Path(path) / name).write_text(content, "utf-8")


def _convert(path: Path) -> str:
    """tokenizer.json's text for a model that ships another format, by way of transformers."""
    from transformers import AutoTokenizer  # takes over a second to import

    try:
        slow = AutoTokenizer.from_pretrained(str(path), local_files_only=True)
        return slow.backend_tokenizer.to_str()
    except Exception as error:  # whatever a foreign file makes transformers raise
        raise ModelError(
            f"{path / 'tokenizer.json'} does not exist, and transformers cannot make it ({error}); "
            "fetch the model's tokenizer files"
        ) from None
