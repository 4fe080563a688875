"""Small chat templates with the properties of published ones, and what their tokenizers need."""

from __future__ import annotations

from dataclasses import dataclass

_RAISE = "{{ raise_exception('roles must alternate') }}"
_ALTERNATE = "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}" + _RAISE + "{% endif %}"

LLAMA3 = (
    "{% for message in messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
    " + message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}"
    "{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
LLAMA31 = (
    "{{- bos_token }}{%- if not date_string is defined %}{%- set date_string = strftime_now('%d %b %Y') %}{%- endif %}"
    "{%- if messages[0]['role'] == 'system' %}{%- set system = messages[0]['content'] | trim %}"
    "{%- set messages = messages[1:] %}{%- else %}{%- set system = '' %}{%- endif %}"
    "{{- '<|start_header_id|>system<|end_header_id|>\n\n' }}{{- 'Today Date: ' + strftime_now('%d %b %Y') + '\n\n' }}"
    "{{- system }}{{- '<|eot_id|>' }}{%- for message in messages %}"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] + '<|eot_id|>' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"
)
QWEN = (
    "{%- if messages[0]['role'] == 'system' %}{{- '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}"
    "{%- else %}{{- '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{%- endif %}"
    "{%- for message in messages %}{%- if not (message.role == 'system' and loop.first) %}"
    "{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}"
    "{%- endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for message in messages %}" + _ALTERNATE + "{% set role = message['role'] | replace('assistant',"
    " 'model') %}{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}" + _ALTERNATE + "{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% else %}{{ message['content'] + eos_token }}{% endif %}"
    "{% endfor %}"
)
# The system prompt goes into the last user turn, and instruction markers are special tokens.
MISTRAL3 = (
    "{%- if messages[0]['role'] == 'system' %}{%- set system = messages[0]['content'] %}"
    "{%- set messages = messages[1:] %}{%- endif %}{{- bos_token }}{%- for message in messages %}"
    "{%- if message['role'] == 'user' %}{%- if loop.last and system is defined %}"
    "{{- '[INST] ' + system + '\n\n' + message['content'] + '[/INST]' }}{%- else %}"
    "{{- '[INST] ' + message['content'] + '[/INST]' }}{%- endif %}{%- else %}"
    "{{- ' ' + message['content'] | trim + eos_token }}{%- endif %}{%- endfor %}"
)
LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set system = '<<SYS>>\n' + messages[0]['content'] + '\n<</SYS>>\n\n' %}"
    "{% set messages = messages[1:] %}{% else %}{% set system = '' %}{% endif %}{% for message in messages %}"
    + _ALTERNATE
    + "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + (system if loop.first else '') "
    "+ message['content'].strip() + ' [/INST]' }}{% else %}{{ ' ' + message['content'].strip() + ' ' + eos_token }}"
    "{% endif %}{% endfor %}"
)
ZEPHYR = (
    "{% for message in messages %}\n{{ '<|' + message['role'] + '|>\n' + message['content'] + eos_token }}\n"
    "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"
)
PHI3 = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
ALPACA = (
    "{% for message in messages %}{{ ('### Instruction:\n' if message['role'] == 'user' else '### Response:\n') "
    "+ message['content'] + '\n\n' }}{% endfor %}{% if add_generation_prompt %}{{ '### Response:\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Family:
    """A chat template, and a tokenizer that fits it.

    Attributes:
      template: or several, by name.
      special: the tokens that are special.
      human, assistant: the marker of each role: a special token, or plain text.
      end: the token that ends a turn.
      system: it has a place of its own for a system prompt.
      pieces: the tokenizer is of SentencePiece's kind; joined: of bytes, with words that end in line breaks.
      bos: the token that the tokenizer puts before every text.
    """

    template: str | list
    special: tuple[str, ...]
    human: str
    assistant: str
    end: str
    system: bool = True
    pieces: bool = False
    bos: str = ""
    eos: str = "</s>"
    joined: bool = False


_LLAMA = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
_CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_PHI = ("<s>", "</s>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
_TURN = ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>")
_HEADER = "<|start_header_id|>{}<|end_header_id|>"
_LLAMA_ROLES = (_HEADER.format("user"), _HEADER.format("assistant"), "<|eot_id|>")

FAMILIES = {
    "llama-3": Family(LLAMA3, _LLAMA, *_LLAMA_ROLES, bos="<|begin_of_text|>", eos="<|end_of_text|>"),
    "llama-3.1": Family(LLAMA31, _LLAMA, *_LLAMA_ROLES, bos="<|begin_of_text|>", eos="<|end_of_text|>"),
    "qwen": Family(QWEN, _CHATML, "<|im_start|>user", "<|im_start|>assistant", "<|im_end|>", eos="<|endoftext|>"),
    "gemma": Family(
        GEMMA, _TURN, "<start_of_turn>user", "<start_of_turn>model", "<end_of_turn>", False, bos="<bos>", eos="<eos>"
    ),
    "mistral": Family(MISTRAL, ("<s>", "</s>"), "[INST]", "[/INST]", "</s>", False, True, "<s>"),
    "mistral-3": Family(MISTRAL3, ("<s>", "</s>", "[INST]", "[/INST]"), "[INST]", "[/INST]", "</s>", True, True, "<s>"),
    "llama-2": Family(LLAMA2, ("<s>", "</s>"), "[INST]", "[/INST]", "</s>", True, True, "<s>"),
    "zephyr": Family(ZEPHYR, ("<s>", "</s>"), "<|user|>", "<|assistant|>", "</s>", True, True, "<s>"),
    "phi-3": Family(PHI3, _PHI, "<|user|>", "<|assistant|>", "<|end|>", True, True, "<s>", "<|endoftext|>"),
    "alpaca": Family(ALPACA, ("</s>",), "### Instruction:", "### Response:", "</s>", False),
}

# What published templates do beside that, each in a template of its own.
_THINKS = (
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'system' %}{{ message.content }}"
    "{% elif message.role == 'user' %}{{ '<|U|>' + message.content }}{% else %}"
    "{{ '<|A|>' + message.content.split('</think>')[-1] + '<|E|>' }}{% endif %}{% endfor %}"
)
# The prompt opens a block that the model must close; a reply that is there has none.
OPENED = _THINKS + "{% if add_generation_prompt %}{{ '<|A|><think>\n' }}{% endif %}"
OPENED_AT_ONCE = _THINKS + "{% if add_generation_prompt %}{{ '<|A|><think>' }}{% endif %}"
# The model opens a block by itself, of which the template names the end alone.
CLOSED = _THINKS + "{% if add_generation_prompt %}{{ '<|A|>' }}{% endif %}"
# The last reply has an empty block, those before it have none.
EMPTY_LAST = (
    "{%- set ns = namespace(last=-1) %}{%- for message in messages %}{%- if message.role == 'user' %}"
    "{%- set ns.last = loop.index0 %}{%- endif %}{%- endfor %}{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\n' }}"
    "{%- if message.role == 'assistant' and loop.index0 > ns.last %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}"
    "{{- message.content + '<|im_end|>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n<think>\n' }}{%- endif %}"
)
# What the assistant says is marked, for losses to be taken there.
MARKED = (
    "{%- for message in messages %}{%- if message.role == 'assistant' %}{{- '<|im_start|>assistant\n' }}"
    "{% generation %}{{- message.content + '<|im_end|>' }}{% endgeneration %}{{- '\n' }}{%- else %}"
    "{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
MACRO = (
    "{%- macro turn(role, text, close=true) -%}{{ '<|im_start|>' ~ role ~ '\n' ~ text | trim }}"
    "{%- if close %}{{ '<|im_end|>\n' }}{%- endif %}{%- endmacro -%}"
    "{%- for m in messages %}{{- turn(m.role, m['content']) }}"
    "{%- if loop.index > 900 %}{% break %}{% endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- turn('assistant', '', close=false) }}{%- endif %}"
)
DATED = (
    "{%- if strftime_now is defined %}{%- set year = strftime_now('%Y') | int %}"
    "{%- else %}{%- set year = 0 %}{%- endif %}"
    "{{- bos_token + '<|start_header_id|>system<|end_header_id|>\n\nIt is ' + strftime_now('%A, %d %B %Y') }}"
    "{{- ', and next year is ' ~ (year + 1) ~ '.\n' }}{%- for m in messages %}{%- if m.role == 'system' %}"
    "{{- m.content }}{%- endif %}{%- endfor %}{{- '<|eot_id|>' }}{%- for m in messages if m.role != 'system' %}"
    "{{- '<|start_header_id|>' ~ m.role ~ '<|end_header_id|>\n\n' ~ m.content ~ '<|eot_id|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"
)
# Roles are words in plain text, behind a sentence that stands there by default.
WORDS = (
    "{%- if messages[0].role == 'system' %}{%- set first = messages[0].content %}{%- set messages = messages[1:] %}"
    "{%- else %}{%- set first = 'Here an assistant talks with a user.' %}{%- endif %}{{- first }}"
    "{%- for m in messages %}{%- if m.role == 'user' %}{{- ' USER: ' + m.content }}{%- else %}"
    "{{- ' ASSISTANT: ' + m.content + eos_token }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- ' ASSISTANT:' }}{%- endif %}"
)
# The text of a turn grows together with the plain line break behind it, and the assistant's turn with a token.
LINES = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}"
    "{{ '<|assistant|>\n' + m.content + eos_token }}"
    "{% if not loop.last %}{{ '\n' }}{% endif %}{% else %}{{ '<|' + m.role + '|>\n' + m.content + '\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
# No special token but the end of text, after which nothing is asked for.
QUESTIONS = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ 'Question: ' + m.content + '\n\n' }}"
    "{% elif m.role == 'system' %}{{ 'Note: ' + m.content + '\n\n' }}{% else %}"
    "{{ 'Answer: ' + m.content + '\n\n' }}{% endif %}{% endfor %}"
)
# What stands in front of the beginning of text is read as well, and is no reason for a second one.
SPACE_FIRST = " \n" + LLAMA3.replace("{% for", "{{ bos_token }}{% for", 1).replace("bos_token + content", "content")
MARK_FIRST = "\ufeff" + SPACE_FIRST.lstrip()
NO_PROMPT = "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{%- endfor %}"
# The assistant's header belongs to the user's turn, and the space at the end of what is said is taken off.
# The line break behind the header is no part of the generation prompt.
LINE_LATER = NO_PROMPT + "{%- if add_generation_prompt %}{{- '<|im_start|>assistant' }}{%- endif %}"
# Nor is a whole part of the header; and the last reply of all ends with a token of its own.
CHANNELS = (
    "{%- for m in messages %}{%- if m.role == 'assistant' %}"
    "{{- '<|start|>assistant<|channel|>final<|message|>' + m.content }}"
    "{{- '<|return|>' if loop.last and not add_generation_prompt else '<|end|>' }}{%- else %}"
    "{{- '<|start|>' + m.role + '<|message|>' + m.content + '<|end|>' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start|>assistant' }}{%- endif %}"
)
INSIDE = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ '<|U|>' + m.content.rstrip() + '<|E|><|A|>' }}"
    "{% elif m.role == 'system' %}{{ raise_exception('no place for ' + m.role | tojson) }}{% else %}"
    "{{ m.content.rstrip() + '<|E|>' }}{% endif %}{% endfor %}"
)
NAMED = [
    {"name": "tool_use", "template": "{{ raise_exception('no tools') }}"},
    {"name": "default", "template": "  {%- if true %}\n" + NO_PROMPT + "    {%- endif %}\n"
     "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"},
]  # fmt: skip
NUMBERED = (
    "{%- for m in messages %}{{- '<|im_start|>' + m.role + ' ' ~ loop.index ~ '\n' + m.content "
    "+ '<|im_end|>\n' }}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant ' "
    "~ (messages | length + 1) ~ '\n' }}{%- endif %}"
)

_CHANNEL = ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>")
_SHORT = ("<B>", "<|E|>", "<|U|>", "<|A|>")
_IM = ("<|im_start|>user", "<|im_start|>assistant", "<|im_end|>")

FAMILIES |= {
    "opened": Family(OPENED, _SHORT, "<|U|>", "<|A|>", "<|E|>", bos="<B>", eos="<|E|>"),
    "opened at once": Family(OPENED_AT_ONCE, _SHORT, "<|U|>", "<|A|>", "<|E|>", bos="<B>", eos="<|E|>"),
    "closed": Family(CLOSED, _SHORT, "<|U|>", "<|A|>", "<|E|>", bos="<B>", eos="<|E|>"),
    "empty last": Family(EMPTY_LAST, _CHATML, *_IM, eos="<|endoftext|>"),
    "marked": Family(MARKED, _CHATML, *_IM, eos="<|endoftext|>"),
    "macro": Family(MACRO, _CHATML, *_IM, eos="<|endoftext|>"),
    "dated": Family(DATED, _LLAMA, *_LLAMA_ROLES, bos="<|begin_of_text|>", eos="<|end_of_text|>"),
    "words": Family(WORDS, ("<s>", "</s>"), "USER:", "ASSISTANT:", "</s>", pieces=True, bos="<s>"),
    "lines": Family(
        LINES, ("<|end|>",), "<|user|>", "<|assistant|>", "<|end|>", bos="<|end|>", eos="<|end|>", joined=True
    ),
    "space first": Family(SPACE_FIRST, _LLAMA, *_LLAMA_ROLES, bos="<|begin_of_text|>", eos="<|end_of_text|>"),
    "mark first": Family(MARK_FIRST, _LLAMA, *_LLAMA_ROLES, bos="<|begin_of_text|>", eos="<|end_of_text|>"),
    "questions": Family(QUESTIONS, ("</s>",), "Question:", "Answer:", "</s>", joined=True),
    "no prompt": Family(NO_PROMPT, _CHATML, *_IM, eos="<|endoftext|>", joined=True),
    "line later": Family(LINE_LATER, _CHATML, *_IM, eos="<|endoftext|>"),
    "channels": Family(CHANNELS, _CHANNEL, "<|start|>user", "<|start|>assistant", "<|return|>", eos="<|return|>"),
    "inside": Family(INSIDE, _SHORT, "<|U|>", "<|A|>", "<|E|>", False, bos="<B>", eos="<|E|>"),
    "named": Family(NAMED, _CHATML, *_IM, eos="<|endoftext|>"),
    "numbered": Family(NUMBERED, _CHATML, *_IM, eos="<|endoftext|>"),
}
