"""Text to token ids and back, by the model's own tokenizer files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import tokenizers

from cai_jax.models.config import Config, ModelError

# Kept byte for byte when a model is saved again: what text becomes, what it stands in, and where replies end.
_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "generation_config.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
)
_NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """A model's tokenizer, for text that may be hostile.

    Attributes:
      eos_id: ends a text; bos_id, pad_id: None where the model has none.
      stop_ids: any of them ends a reply.
      special_ids: ids that no text may yield.
      vocab_size: number of ids, added tokens included.
      begin: the beginning-of-text token where the tokenizer puts one before every text, else "".
      named: special tokens by their role ("eos_token").
      template: the chat template (Jinja), "" where there is none.
    """

    _coders: _Coders
    _files: Mapping[str, bytes]
    _special: re.Pattern[str]
    eos_id: int
    bos_id: int | None
    pad_id: int | None
    stop_ids: frozenset[int]
    special_ids: frozenset[int]
    vocab_size: int
    begin: str
    named: Mapping[str, str]
    template: str

    @classmethod
    def load(cls, path: str | Path, config: Config | None = None) -> Tokenizer:
        """Read a model directory's tokenizer; raises ModelError if it is missing, broken or too large for `config`."""
        path = Path(path)
        files = {name: (path / name).read_bytes() for name in _FILES if (path / name).is_file()}
        if "tokenizer.json" not in files:
            files["tokenizer.json"] = _convert(path)
        try:
            settings = {name: json.loads(files.get(name, b"{}")) for name in _FILES if name.endswith("config.json")}
            named = _named(settings["tokenizer_config.json"], json.loads(files.get("special_tokens_map.json", b"{}")))
            template = _template(settings["tokenizer_config.json"], files.get("chat_template.jinja", b"").decode())
            backend = tokenizers.Tokenizer.from_buffer(files["tokenizer.json"])
        except Exception as error:  # the tokenizers package raises plain Exception
            raise ModelError(f"{path}: the tokenizer's files cannot be read ({error}); fetch them again") from None
        if config is not None and backend.get_vocab_size() > config.vocab_size:
            raise ModelError(
                f"{path / 'tokenizer.json'} has {backend.get_vocab_size()} tokens, but the model only "
                f"{config.vocab_size}; they belong to different models"
            )
        return cls._build(backend, files, settings, named, template, config)

    @classmethod
    def _build(
        cls,
        backend: tokenizers.Tokenizer,
        files: Mapping[str, bytes],
        settings: Mapping[str, Mapping[str, Any]],
        named: Mapping[str, str],
        template: str,
        config: Config | None,
    ) -> Tokenizer:
        eos_ids = config.eos_ids if config else ()
        ids = {role: backend.token_to_id(content) for role, content in named.items()}
        bos, eos, pad = (ids.get(role) for role in ("bos_token", "eos_token", "pad_token"))
        eos = eos_ids[0] if eos is None and eos_ids else eos
        if eos is None:
            raise ModelError("neither tokenizer_config.json nor config.json names an end-of-text token (eos_token)")
        if config:
            bos, pad = config.bos_id if bos is None else bos, config.pad_id if pad is None else pad
        stops = {eos, *eos_ids, *_listed(settings["generation_config.json"].get("eos_token_id"))}
        adds = settings["tokenizer_config.json"].get("add_bos_token")
        begins = bos in backend.encode("").ids if adds is None else adds and bos is not None
        special = _marked(backend, template) | {number for number in (*stops, bos, pad) if number is not None}
        special.discard(ids.get("unk_token"))  # stands for unknown letters, which any text may hold
        contents = [backend.id_to_token(number) for number in sorted(special)]
        contents = [content for content in contents if content is not None]
        return cls(
            _Coders.of(backend, files["tokenizer.json"], contents),
            files,
            re.compile("|".join(map(re.escape, sorted(contents, key=len, reverse=True))) or "(?!)"),
            eos,
            bos,
            pad,
            frozenset(stops),
            frozenset(special),
            backend.get_vocab_size(),
            backend.id_to_token(bos) if begins else "",
            named,
            template,
        )

    def encode(self, text: str, *, special: bool = False, fresh: bool = False) -> list[int]:
        """Token ids of `text`.

        Args:
          text: anything; none of its ids is special, unless
          special: it comes from a chat template, where special tokens are meant as such.
          fresh: it stands behind a special token, where some tokenizers put a space before it.
        """
        if special:
            return self._encode_template(text, fresh)
        ids = self._coders.plain(text, fresh)
        if self.special_ids.isdisjoint(ids):
            return ids
        # Some models of vocabulary find special tokens among their words; letter by letter they cannot.
        return [number for letter in text for number in self._coders.plain(letter, False)]

    def _encode_template(self, text: str, fresh: bool) -> list[int]:
        """What stands behind the first special token is tokenised as transformers would the whole of it."""
        found = self._special.search(text)
        at = found.start() if found else len(text)
        return [*self._coders.plain(text[:at], fresh), *self._coders.template(text[at:])]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, special ones left out."""
        return self._coders.fresh.decode([number for number in ids if number not in self.special_ids])

    def parts(self, text: str) -> list[str]:
        """`text` cut at its special tokens: plain text, special token, plain text, …; plain text may be empty."""
        return re.split(f"({self._special.pattern})", text)

    def same_as(self, other: Tokenizer) -> bool:
        """Whether both give every text the same ids, because they were read from equal files."""
        return self._files["tokenizer.json"] == other._files["tokenizer.json"]

    def save(self, path: str | Path) -> None:
        """Write the files it was read from into a model directory."""
        for name, content in self._files.items():
            (Path(path) / name).write_bytes(content)


class _Coders(NamedTuple):
    """The tokenizer as its file has it, and as it reads text that goes on from other text (often the same)."""

    fresh: tokenizers.Tokenizer
    inner: tokenizers.Tokenizer

    @classmethod
    def of(cls, backend: tokenizers.Tokenizer, content: bytes, special: Sequence[str]) -> _Coders:
        fresh = inner = backend
        if any(sign in str(part) for part in (backend.normalizer, backend.pre_tokenizer) for sign in _SPACED):
            # A space at the beginning of what is tokenised alone would stand in the middle of a prompt.
            values = json.loads(content)
            inner = tokenizers.Tokenizer.from_str(json.dumps(_unspaced(values, ("always", "first"))))
            fresh = tokenizers.Tokenizer.from_str(json.dumps(_unspaced(values, ("first",))))
        known = {token.content: token for token in backend.get_added_tokens_decoder().values()}
        # A token that is marked already would lose the space that it swallows.
        unmarked = [
            tokenizers.AddedToken(content, special=True)
            for content in special
            if content not in known or not known[content].special
        ]
        for each in (fresh, inner):
            each.add_special_tokens(unmarked)
            each.encode_special_tokens = True  # "encode as the text they are", says its documentation
            each.no_truncation()
            each.no_padding()
        return cls(fresh, inner)

    def plain(self, text: str, fresh: bool) -> list[int]:
        return (self.fresh if fresh else self.inner).encode(text, add_special_tokens=False).ids

    def template(self, text: str) -> list[int]:
        self.fresh.encode_special_tokens = False
        try:
            return self.fresh.encode(text, add_special_tokens=False).ids
        finally:
            self.fresh.encode_special_tokens = True


_SPACED = ("Prepend", "Metaspace", "add_prefix_space=True")


def _unspaced(values: Any, schemes: Sequence[str]) -> Any:
    """A tokenizer.json without the space that its parts put at the beginning of a text.

    Args:
      values: the file, or a part of it.
      schemes: which habits to break: "always", or "first", by which only a whole text begins so.
    """
    if isinstance(values, list):
        return [each for one in values if (each := _unspaced(one, schemes)) is not None]
    if not isinstance(values, dict):
        return values
    kind = values.get("type")
    if kind == "Prepend" and "always" in schemes:
        return None
    out = {name: _unspaced(each, schemes) if name in _PARTS else each for name, each in values.items()}
    if kind == "Metaspace" and out.get("prepend_scheme", "always") in schemes:
        out |= {"prepend_scheme": "never", **({"add_prefix_space": False} if "add_prefix_space" in out else {})}
    if kind == "ByteLevel" and "always" in schemes:
        out["add_prefix_space"] = False
    return out


_PARTS = ("normalizer", "normalizers", "pre_tokenizer", "pretokenizers")


def _named(*sources: Mapping[str, Any]) -> dict[str, str]:
    """Special tokens by role; of several files the first that names one counts."""
    found: dict[str, str] = {}
    for source in sources:
        for role in _NAMED:
            token = source.get(role)
            content = token.get("content") if isinstance(token, Mapping) else token
            if isinstance(content, str):
                found.setdefault(role, content)
    return found


def _template(settings: Mapping[str, Any], file: str) -> str:
    """The chat template: of a file of its own, or of tokenizer_config.json; of several the one called "default"."""
    found = file or settings.get("chat_template") or ""
    if isinstance(found, list):
        return {each["name"]: each["template"] for each in found}.get("default", "")
    return found


def _marked(backend: tokenizers.Tokenizer, template: str) -> set[int]:
    """Ids marked as special, and those of added tokens that a careless file did not but the chat template names."""
    added = backend.get_added_tokens_decoder().items()
    return {number for number, token in added if token.special or (token.content.strip() and token.content in template)}


def _listed(ids: Any) -> tuple[int, ...]:
    return () if ids is None else tuple(ids) if isinstance(ids, list) else (ids,)


def _convert(path: Path) -> bytes:
    """tokenizer.json for a model that ships another format, by way of transformers."""
    from transformers import AutoTokenizer  # takes over a second to import

    try:
        slow = AutoTokenizer.from_pretrained(str(path), local_files_only=True)
        return slow.backend_tokenizer.to_str().encode()
    except Exception as error:  # whatever a foreign file makes transformers raise
        raise ModelError(
            f"{path / 'tokenizer.json'} does not exist, and transformers cannot make it ({error}); "
            "fetch the model's tokenizer files"
        ) from None
