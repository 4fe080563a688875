"""The built-in model's tokenizer: every word of the world one token, every other text in bytes.

A unigram model over byte-level characters, written as an ordinary `tokenizer.json`: whatever it reads, it can
write again to the letter.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from cai_jax.prompting.paper_format import CHAT_TEMPLATE
from cai_jax.world.documents import document

END_OF_TEXT = "<|endoftext|>"
PADDING = "<|padding|>"
# Where text is cut before words are looked up: role markers, options and brackets whole, words with their
# leading space, line breaks, single digits and signs.
_CUT = r"\n\n[A-Z]\p{L}+:| \([A-Z]\)| ?\[\[\[|\]\]\]| ?\p{L}+(?:'\p{L}+)?| ?\p{N}|\n+| ?[^\s\p{L}\p{N}]|\s"
_SAMPLE = 30_000  # documents counted; every word of the world occurs many times in them


def build() -> Tokenizer:
    """The tokenizer, from the corpus; the same bits every time."""
    cut = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_CUT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    counts: Counter[str] = Counter()
    for index in range(_SAMPLE):
        for segment in document(index):
            counts.update(piece for piece, _ in cut.pre_tokenize_str(segment.text))
    # A byte costs more than any word, so that a known word is never spelled.
    least = math.log(1 / counts.total()) - 10
    pieces = [(PADDING, 0.0), (END_OF_TEXT, 0.0)]
    pieces += [(char, least) for char in sorted(pre_tokenizers.ByteLevel.alphabet())]
    words = sorted((piece for piece in counts if len(piece) > 1), key=lambda word: (-counts[word], word))
    pieces += [(word, math.log(counts[word] / counts.total())) for word in words]
    tokenizer = Tokenizer(models.Unigram(pieces))
    tokenizer.pre_tokenizer = cut
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([PADDING, END_OF_TEXT])
    return tokenizer


def write(folder: Path) -> None:
    """Writes tokenizer.json and tokenizer_config.json (with the chat template) into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    build().save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END_OF_TEXT,
        "pad_token": PADDING,
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1))
