"""Text to token ids and back, by the model's own tokenizer files."""

from __future__ import annotations

import functools
import importlib.util
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import tokenizers

from cai_jax.models.characters import finished
from cai_jax.models.config import Config, ModelError, read_json
from cai_jax.prompting.render import Span, Special

# Kept byte for byte when a model is saved again: vocabulary, chat template, and ends of replies.
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
_MORE = "additional_chat_templates"
# Each of them makes a tokenizer, the second and third by way of transformers.
_VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json")


def has_tokenizer(path: str | Path) -> bool:
    """Return True if a model directory holds a tokenizer, of whatever format; its settings alone do not count."""
    return any((Path(path) / name).exists() for name in _VOCABULARIES)


def _panics_refused(function: Callable) -> Callable:
    """The function, with a panic of the tokenizers library, which is not an Exception, as a ModelError."""

    @functools.wraps(function)
    def guarded(*args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except BaseException as error:
            if type(error).__name__ != "PanicException":
                raise
            raise ModelError(f"the tokenizer's files make its library fail ({error}); fetch them again") from None

    return guarded


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """A model's tokenizer, for text that may be hostile. Equal texts have equal ids: BPE dropout is off.

    Attributes:
      eos_id: ends a text; bos_id, pad_id: None where the model has none.
      stop_ids: any of them ends a reply.
      special_ids: ids that no text may yield.
      vocab_size: number of ids, added tokens included.
      rows: ids that the model has embeddings of; from there on none may occur.
      begin: the beginning-of-text token where the tokenizer puts one before every text, else "".
      named: special tokens by their role ("eos_token").
      templates: the chat templates (Jinja) by name; the one that is used is called "default".
    """

    _coders: _Coders
    _files: Mapping[str, bytes]
    _specials: Mapping[str, Special]
    _cut: re.Pattern[str]
    eos_id: int
    bos_id: int | None
    pad_id: int | None
    stop_ids: frozenset[int]
    special_ids: frozenset[int]
    vocab_size: int
    rows: int
    begin: str
    named: Mapping[str, str]
    templates: Mapping[str, str]

    @classmethod
    @_panics_refused
    def load(cls, path: str | Path, config: Config | None = None) -> Tokenizer:
        """Read a model directory's tokenizer; raises ModelError if it is missing, broken or too large for `config`."""
        path = Path(path)
        more = [f"{_MORE}/{file.name}" for file in sorted((path / _MORE).glob("*.jinja"))]
        _refuse_pipes(path / name for name in (*_FILES, *more))
        files = {name: (path / name).read_bytes() for name in (*_FILES, *more) if (path / name).is_file()}
        if "tokenizer.json" not in files:
            files["tokenizer.json"] = _convert(path)
        try:
            settings = {name: json.loads(files.get(name, b"{}")) for name in _FILES if name.endswith("config.json")}
            named = _named(settings["tokenizer_config.json"], json.loads(files.get("special_tokens_map.json", b"{}")))
            templates = _templates(settings["tokenizer_config.json"], files)
            backend = tokenizers.Tokenizer.from_buffer(files["tokenizer.json"])
            backend.encode("\U0010ffff")  # fails where unknown letters have no token, before any text does
            tokenizer = cls._build(backend, files, settings, named, templates, config)
        except ModelError:
            raise
        except Exception as error:  # the tokenizers package raises plain Exception, and foreign files may say anything
            raise ModelError(f"{path}: the tokenizer's files cannot be read ({error}); fetch them again") from None
        if config is not None:
            tokenizer._refuse_foreign(path, backend)
        return tokenizer

    @classmethod
    def _build(
        cls,
        backend: tokenizers.Tokenizer,
        files: Mapping[str, bytes],
        settings: Mapping[str, Mapping[str, Any]],
        named: Mapping[str, str],
        templates: Mapping[str, str],
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
            pad = None if pad is not None and pad >= config.vocab_size else pad  # added without an embedding of its own
        stops = {eos, *eos_ids, *_listed(settings["generation_config.json"].get("eos_token_id"))}
        adds = settings["tokenizer_config.json"].get("add_bos_token")
        begins = bos in backend.encode("").ids if adds is None else adds and bos is not None
        special = _marked(backend, templates.get("default", ""))
        special |= {number for number in (*stops, bos, pad, *ids.values()) if number is not None}
        if ids.get("unk_token") not in {*stops, bos}:  # of GPT-2's kind one token is all three, and no text's
            special.discard(ids.get("unk_token"))  # for unknown letters, which any text may hold
        added = backend.get_added_tokens_decoder()
        # What an added one says as templates write it; the library tells it as the normalizer leaves it (`▁<s>`).
        says = {number: added[number].content if number in added else backend.id_to_token(number) for number in special}
        specials = {
            content: Special(number, number in added and added[number].lstrip, number in added and added[number].rstrip)
            for number in sorted(special)
            if (content := says[number]) is not None
        }
        return cls(
            _Coders.of(backend, files["tokenizer.json"], list(specials)),
            files,
            specials,
            re.compile(f"({'|'.join(map(re.escape, sorted(specials, key=len, reverse=True))) or '(?!)'})"),
            eos,
            bos,
            pad,
            frozenset(stops),
            frozenset(special),
            backend.get_vocab_size(),
            config.vocab_size if config else backend.get_vocab_size(),
            (says[bos] or "") if begins and bos is not None else "",
            named,
            templates,
        )

    def encode(self, text: str) -> list[int]:
        """Return token ids of text that follows other text; none of them is special."""
        found = [span.id for span in self.spans(text, "inner")]
        if self.special_ids.isdisjoint(found) or len(text) < 2:
            return found
        # Some models of vocabulary find special tokens among their words; letter by letter they cannot.
        return [number for letter in text for number in self.encode(letter)]

    def spans(self, text: str, place: str) -> list[Span]:
        """Return the tokens of plain text.

        Args:
          text: anything; special tokens in it are read as text.
          place: "start" at the beginning of all text, "fresh" after a special token, "inner" after other text,
            where some tokenizers put a space before it and others do not.
        """
        return self._coders.plain(text, place)

    def special(self, content: str) -> Special:
        """Return a special token by its text; raises ModelError for one of which the model has no embedding."""
        found = self._specials[content]
        if found.id >= self.rows:
            raise ModelError(f"the chat template writes the token {found.id}, of which the model has no embedding")
        return found

    def _refuse_foreign(self, path: Path, backend: tokenizers.Tokenizer) -> None:
        """Raise ModelError if a text, the template or the end of a reply may have an id without an embedding.


        Other such ids may be in the file: Gemma 3 has one for images (huggingface/transformers#37011).
        """
        ids = backend.get_vocab()
        foreign = [
            content
            for content, number in ids.items()
            if number >= self.rows and (number not in self.special_ids or content in self.template)
        ]
        eos = [content for content, token in self._specials.items() if token.id == self.eos_id]
        foreign += [content for content in (self.begin, *eos) if ids.get(content, 0) >= self.rows]
        if foreign or self.eos_id >= self.rows:
            named = f"the token {foreign[0]!r}, whose id is {ids[foreign[0]]}" if foreign else f"the id {self.eos_id}"
            raise ModelError(
                f"{path / 'tokenizer.json'} has {named}, but the model has embeddings of {self.rows} ids; "
                "they belong to different models"
            )

    @_panics_refused
    def decode(self, ids: Sequence[int], shown: Collection[str] = ()) -> str:
        """Return the text of `ids`, without special tokens, and without an incomplete character at its end.

        Special tokens whose text is in `shown` stay.
        """
        hidden = self.special_ids - {self._specials[each].id for each in shown if each in self._specials}
        return finished(self._coders.fresh, [number for number in ids if number not in hidden], not shown)

    def parts(self, text: str) -> list[str]:
        """Cut `text` at its special tokens: plain text, special token, plain text, …; plain text may be empty."""
        return self._cut.split(text)

    @property
    def template(self) -> str:
        """The chat template that is used, "" where there is none."""
        return self.templates.get("default", "")

    def added(self) -> Mapping[int, tokenizers.AddedToken]:
        """The added tokens by id, special ones among them."""
        return self._coders.fresh.get_added_tokens_decoder()

    def padded(self, number: int | None) -> Tokenizer:
        """Return the tokenizer with another padding token, one of `added`, or without any; its files say so too."""
        if number is None:
            return replace(self, pad_id=None)
        files, content = dict(self._files), self.added()[number].content
        for name in ("tokenizer_config.json", "special_tokens_map.json"):
            if name in files or name == "tokenizer_config.json":
                values = json.loads(files.get(name, b"{}")) | {"pad_token": content}
                files[name] = (json.dumps(values, indent=2) + "\n").encode()
        return replace(self, _files=files, pad_id=number, named={**self.named, "pad_token": content})

    def same_as(self, other: Tokenizer) -> bool:
        """Return True if both give every text the same ids, because they were read from equal files."""
        return self._files["tokenizer.json"] == other._files["tokenizer.json"]

    def save(self, path: str | Path) -> None:
        """Write the files it was read from into a model directory."""
        for name, content in self._files.items():
            file = Path(path) / name
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(content)


class _Coders(NamedTuple):
    """The tokenizer at the start of all text, after a special token, and after other text (often all one)."""

    start: tokenizers.Tokenizer
    fresh: tokenizers.Tokenizer
    inner: tokenizers.Tokenizer

    @classmethod
    def of(cls, backend: tokenizers.Tokenizer, content: bytes, special: Sequence[str]) -> _Coders:
        start = fresh = inner = backend
        if any(sign in str(part) for part in (backend.normalizer, backend.pre_tokenizer) for sign in _SPACED):
            # A space at the beginning of what is tokenised alone would end up in the middle of a prompt.
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
        for each in (start, fresh, inner):
            each.add_special_tokens(unmarked)
            each.encode_special_tokens = True  # "encode as the text they are", says its documentation
            each.no_truncation()
            each.no_padding()
            if getattr(each.model, "dropout", None):
                each.model.dropout = None
        return cls(start, fresh, inner)

    @_panics_refused
    def plain(self, text: str, place: str) -> list[Span]:
        found = getattr(self, place).encode(text, add_special_tokens=False)
        return [Span(number, *offsets) for number, offsets in zip(found.ids, found.offsets, strict=True)]


_SPACED = ("Prepend", "Metaspace", "add_prefix_space=True")


def _unspaced(values: Any, schemes: Sequence[str]) -> Any:
    """Return a tokenizer.json without the space that its parts put at the beginning of a text.

    Args:
      values: the file, or a part of it.
      schemes: spaces to leave out: "always", or "first", of parts that put it before a whole text only.
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
    """Special tokens by role, a model's own among them ("image_token"); the first source that names one counts."""
    found: dict[str, str] = {}
    for source in sources:
        own = [source[name] for name in _OWN if isinstance(source.get(name), Mapping)]
        named = {role: token for role, token in source.items() if role.endswith("_token")}
        for role, token in (item for each in (named, *own) for item in each.items()):
            content = token.get("content") if isinstance(token, Mapping) else token
            if isinstance(content, str):
                found.setdefault(role, content)
    return found


_OWN = ("extra_special_tokens", "model_specific_special_tokens")  # lists or, by role, mappings


def _templates(settings: Mapping[str, Any], files: Mapping[str, bytes]) -> dict[str, str]:
    """The chat templates by name: from files of their own or, where there are none, from tokenizer_config.json."""
    own = {name: content.decode() for name, content in files.items() if name.endswith(".jinja")}
    found: Any = {"default" if "/" not in name else Path(name).stem: text for name, text in own.items()}
    found = found or settings.get("chat_template") or {}
    if isinstance(found, str):
        found = {"default": found}
    if isinstance(found, list):
        found = {each["name"]: each["template"] for each in found}
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise ValueError("chat_template in tokenizer_config.json is neither a text nor texts with names")
    return found


def _marked(backend: tokenizers.Tokenizer, template: str) -> set[int]:
    """Ids marked as special, and those of added tokens left unmarked by mistake but named in the chat template."""
    added = backend.get_added_tokens_decoder().items()
    return {number for number, token in added if token.special or (token.content.strip() and token.content in template)}


def _listed(ids: Any) -> tuple[int, ...]:
    return () if ids is None else tuple(ids) if isinstance(ids, list) else (ids,)


def _refuse_pipes(files: Iterable[Path]) -> None:
    """Raise ModelError for what exists but is not a regular file: reading a pipe or a device may never end."""
    for file in files:
        if file.exists() and not file.is_file():
            raise ModelError(f"{file} is no regular file; fetch it again")


def _convert(path: Path) -> bytes:
    """The tokenizer.json of a model that ships another format, by way of transformers, which runs none of its code."""
    if not has_tokenizer(path):
        for other in (*path.glob("tekken.json"), *path.glob("*.tiktoken")):
            raise ModelError(
                f"{other} is a tokenizer in a format that is not read; fetch a tokenizer.json of this model"
            )
        raise ModelError(f"{path / 'tokenizer.json'} does not exist; fetch the model's tokenizer files")
    _refuse_pipes(file for file in path.iterdir() if not file.is_dir())
    if _pieces(path / "tokenizer.model") and not all(map(importlib.util.find_spec, _SENTENCEPIECE)):
        raise ModelError(
            f"{path} has no tokenizer.json, but a tokenizer.model, which the sentencepiece package reads; "
            "pip install 'cai-jax[sentencepiece]'"
        )
    _refuse_damaged(path / "tokenizer.model")
    from transformers import AutoTokenizer, logging  # takes over a second to import

    told = logging.get_verbosity()
    logging.set_verbosity_error()  # its failures are reported below
    try:
        # Without trust_remote_code transformers asks at the terminal whether to run what the folder brings.
        slow = AutoTokenizer.from_pretrained(str(path), local_files_only=True, trust_remote_code=False)
        if not slow.backend_tokenizer.encode("a", add_special_tokens=False).ids:
            raise ValueError("of its vocabulary it makes nothing")
        return slow.backend_tokenizer.to_str().encode()
    except Exception as error:  # whatever a foreign file makes transformers raise
        cure = "fetch the model's tokenizer files"
        if (path / _CONFIG).is_file() and "auto_map" in read_json(path / _CONFIG):
            cure = "it needs code of its own, which is never run: save it as tokenizer.json on a machine that trusts it"
        # Of a long answer the first line says what is wrong, up to the list that it may announce.
        reason = str(error).strip().partition("\n")[0].partition(" from one of:")[0].replace("; ", ", ")
        raise ModelError(
            f"{path / 'tokenizer.json'} does not exist, and transformers cannot make it ({reason}); {cure}"
        ) from None
    finally:
        logging.set_verbosity(told)


_CONFIG = "tokenizer_config.json"
_SENTENCEPIECE = ("sentencepiece", "google.protobuf")


def _pieces(file: Path) -> bool:
    """Return True if a file is a vocabulary of sentencepiece, whose first field is a piece, and not one of tiktoken."""
    if not file.is_file():
        return False
    with file.open("rb") as opened:
        return opened.read(1) == b"\n"


def _refuse_damaged(file: Path) -> None:
    """Raise ModelError for a tokenizer.model that is a vocabulary neither of sentencepiece nor of tiktoken."""
    if _pieces(file):
        import sentencepiece

        try:
            sound = bool(sentencepiece.SentencePieceProcessor(model_file=str(file)).vocab_size())
        except (RuntimeError, OSError):
            sound = False
    else:
        sound = not file.is_file() or re.match(rb"[A-Za-z0-9+/]+=* \d+\s", file.read_bytes()) is not None
    if not sound:
        raise ModelError(f"{file} is cut off or damaged, or a mere pointer of git-lfs; fetch it again")
