"""Chat templates as transformers renders them, within limits, and the blocks in which models think."""

import threading
import time

import pytest

from cai_jax.prompting import chat_template
from cai_jax.prompting.chat_template import Failed, render
from cai_jax.prompting.thinking import Thinking, thinking_of

MESSAGES = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "So?"},
]

# What templates use of Jinja and of what transformers gives them.
USES = (
    "{{ messages | tojson(indent=2) }}{{ {'b': 'é<', 'a': 1} | tojson(sort_keys=true) }}",
    "{% set ns = namespace(n=0, seen=[]) %}{% for m in messages %}{% set ns.n = ns.n + m.content | length %}"
    "{% endfor %}{{ ns.n }}",
    "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ loop.index }}{{ loop.revindex }}"
    "{{ loop.previtem.role }}{% if loop.last %}!{% else %}{{ loop.nextitem.content }}{% endif %}{% endfor %}",
    "{% for m in messages if m.role == 'user' %}{{ m.content ~ ' ' ~ loop.length }}{% else %}none{% endfor %}",
    "{% macro say(m, sep=': ') %}{{ m.role ~ sep ~ m.content | trim }}{% endmacro %}{{ say(messages[-1]) }}",
    "{% macro box() %}[{{ caller() }}]{% endmacro %}{% call box() %}{{ messages[0].content }}{% endcall %}",
    "{% generation %}{{ messages[1:] | map(attribute='content') | join('|') }}{% endgeneration %}",
    "{% set text %}{% for m in messages %}{{ m.content }}{% endfor %}{% endset %}"
    "{{ text | upper | replace('YES', 'no') }}",
    "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}{{ dict(a=1).items() | list }}",
    "{% for a, b in {'x': 1, 'y': 2}.items() %}{{ a }}{{ b }}{% endfor %}{{ '%s-%03d' % ('a', 7) }}{{ 7 // 2 ** 1 }}",
    "    {%- if not tools is defined or tools is none %}\n  {% if true %}\n    x\n  {% endif %}\n{%- endif %}\n",
    "\ufeff \n{{ bos_token }}{{ messages[0]['content'].split('i')[0] }}{{ missing }}{{ undefined is defined }}",
    "{{ '**%s** %5.1f %d' % ('a', 1.25, 100000) }}{{ '{{{}}} {:*>5} {x!r}'.format('a', 'b', x=[1]) }}"
    "{{ '%3d|' | format(7) }}{{ [[1], [2]] | sum(start=[]) }}{{ [3, 1, 2] | batch(2) | list }}",
    "{{ [1.5, none, 'a', true] }}{{ none }}{{ 2.0 }}{{ '<' | e }}{{ messages | length }}{{ {'a': {2: 3}}['a'][2] }}"
    "{{ 'H' is in 'Hi' }}{{ 6 is divisibleby 3 }}{{ messages is sequence }}{{ 'a' is lower }}{{ [1] is eq [1] }}",
    "{% block b %}{% for m in messages if m.role is eq 'user' %}{{ m.role }}{% endfor %}{% endblock %}{{ self.b() }}",
    "{% filter upper %}{{ messages[0].content.strip() }}{% endfilter %}{{ 'a' in 'abc' }}{{ [1] + [2] }}{{ '-' * 3 }}",
)


@pytest.mark.parametrize("source", USES)
def test_a_template_is_rendered_as_transformers_does(source):
    from transformers.utils.chat_template_utils import render_jinja_template

    given = {"bos_token": "<s>", "tools": None, "documents": None, "add_generation_prompt": True}
    theirs, _ = render_jinja_template(conversations=[MESSAGES], chat_template=source, **given)
    assert [render(source, MESSAGES, given)] == theirs


def test_one_day_in_every_form():
    assert render("{{ strftime_now('%d %B %Y') }}, {{ strftime_now('%Y') | int + 1 }}", [], {}) == "26 July 2024, 2025"
    assert render("{{ strftime_now('%Y-%m-%d %H:%M') }}", [], {}) == "2024-07-26 00:00"


LOOPS = "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}"
ENDS = "{% endfor %}{% endfor %}{% endfor %}"
GROWS = "{{% set ns = namespace(s='ab') %}}{{% for i in range(99) %}}{{% set ns.s = {} %}}{{% endfor %}}{{{{ ns.s }}}}"
HOSTILE = (
    LOOPS + ENDS,
    LOOPS + "x" * 9999 + ENDS,
    "{% macro m(n) %}{{ m(n + 1) }}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}",
    "{% macro m(n) %}{% if n < 60 %}{% set x = m(n + 1) %}{% set x = m(n + 1) %}{% endif %}{% endmacro %}{{ m(0) }}",
    "{% for x in range(9) recursive %}{% if loop.depth < 40 %}{{ loop(range(9)) }}{% endif %}{% endfor %}",
    *(GROWS.format(grown) for grown in ("ns.s ~ ns.s", "ns.s + ns.s", "[ns.s, ns.s]", "ns.s * 2")),
    GROWS.format("ns.s.replace('a', ns.s)"),
    "{% set x %}" + "a" * 999 + "{% endset %}" + "{% set x %}{{ x }}{{ x }}{% endset %}" * 60 + "{{ x }}",
    "{{ 10 ** 100000000 }}",
    "{{ 'a' * 10 ** 10 }}{{ [1] * 10 ** 10 }}",
    "{{ '%999999999d' % 1 }}",
    "{{ '{:999999999}'.format(1) }}",
    "{{ '{:{w}}'.format(1, w=10 ** 9) }}",
    "{{ 'a'.center(10 ** 9) }}",
    "{{ 'a' | center(1000000000) }}",
    "{{ ('a' * 99999).replace('a', 'b' * 99999) }}",
    "{{ (['a' * 999] * 99) | join('b' * 99999) }}",
    "{{ [1] | tojson(indent=10 ** 9) }}",
    "{% for i in range(10 ** 9) %}{% endfor %}",
    "{% set l = range(50000) | list %}{% for i in range(50000) %}{% if -1 in l or l[1:] == l %}{% endif %}{% endfor %}",
    *("{% set x = range(80000) | list %}{% set y = 'a' * 200000 %}{% for i in range(60000) %}"
      "{% if " + each + " %}{% endif %}{% endfor %}" for each in (
        "x | sum", "range(80000) | max", "x.count('a')", "'q' is in x", "y is lower", "'q' in x", "y.isalpha()",
        "y | wordcount", "y | rejectattr('upper') | first", "[y] | select('lower') | first", "y.rfind('b' ~ y[:99999])",
    )),
    "{% set x = 3 ** 1000000 %}{% set y = 7 ** 300000 %}{% for i in range(60000) %}{% set z = x // y %}{% endfor %}",
    "{% set x = 0x" + "f" * 200000 + " %}{% for i in range(60000) %}{% if x is divisibleby 7 %}{% endif %}{% endfor %}",
    "{{ ([1] * 80000) | batch(1) | sum(start=[]) }}",
    "{{ [] | slice(4000000) }}{{ 1 | round(-4000000) }}",
    "{{ ('.' * 100000 ~ 'x') | urlize }}",
    "{{ ('-' * 100000) | wordwrap }}",
    "{{ ('<!---->' * 30000) | striptags }}",
    "{% set ns = namespace(x=[]) %}{% for i in range(150) %}{% set ns.x = [ns.x] %}{% endfor %}"
    "{{ ns.x | tojson(indent=40000) }}",
    "{% for i in range(60000) %}" + "{% if messages.a %}{% endif %}" * 3000 + "{% endfor %}",
    "{% macro m() %}" + "{% if i.a %}{% endif %}" * 2000 + "{% endmacro %}"
    "{% for i in range(9999) %}{{ m() }}{% endfor %}",
    "{{a}}" * 52000,
    "{{ range(0, 20000 * (2 ** 61 - 1), 2 ** 61 - 1) | unique | list }}",
    "{{ lipsum(10 ** 6) }}",
    "{{" + "(" * 5000 + "1" + ")" * 5000 + "}}",
    "x" * (chat_template.LONGEST + 1),
)  # fmt: skip


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_what_never_ends_or_writes_without_end_is_an_error_in_bounded_time(number):
    found = []

    def run():  # in a thread, where no signal can interrupt
        begun = time.thread_time()
        with pytest.raises(Failed) as error:
            render(HOSTILE[number], MESSAGES, {})
        found.append((str(error.value), time.thread_time() - begun))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    ((message, took),) = found
    assert message.startswith("this model's chat template ") and 'format="paper"' in message
    assert took < 8


@pytest.mark.parametrize(
    "wide",
    [
        "'%*d' % (10 ** 8, 1)",
        "'%.*f' % (10 ** 8, 1.0)",
        "'%*d' | format(10 ** 8, 1)",
        "['%99999999d'] | format(1)",
        "'%(a(b))99999999d' % {'a(b)': 1}",
        "'%(a)9999d' * 9999 % {'a': 1}",
        "'{:{w}}'.format(1, w='99999999')",
        "'{0:{1[0]}}'.format(1, [10 ** 8])",
        "'{0[}]:{1[w]}}'.format({'}': 1}, {'w': 10 ** 8})",
        "'{:{}}'.format_map({'': 10 ** 8})",
    ],
)
def test_a_width_is_refused_before_anything_is_as_wide(wide):
    with pytest.raises(Failed, match="too large|not written in the format"):
        render("{{ " + wide + " }}", MESSAGES, {})


@pytest.mark.parametrize("made", ["'a'.encode()", "(1).to_bytes(9, 'big')"])
def test_no_template_makes_bytes(made):
    with pytest.raises(Failed, match="is unsafe"):
        render("{{ " + made + " }}", MESSAGES, {})


def test_a_namespace_is_written_without_what_it_holds():
    doubled = "{% set n = namespace(a=n, b=n) %}" * 60
    assert render("{% set n = namespace(a=1) %}" + doubled + "{{ n }}", [], {}) == "<Namespace>"


@pytest.mark.parametrize(
    "turns, source",
    [
        (60, "{%- for other in messages %}{%- if other == m %}{{- m.content.strip() }}{%- endif %}{%- endfor %}"),
        # Filters that are given all of a template's variables.
        (
            60,
            "{%- if loop.first %}{{ (messages | selectattr('role', 'equalto', 'user') | list)[0].content }}{% endif %}",
        ),
        (
            60,
            "{%- if loop.first %}{{ messages | rejectattr('role', 'in', ['tool']) | map(attribute='content') | first }}"
            "{% endif %}",
        ),
        (400, "{% if loop.index <= messages | length and m.content is string %}{{ m.content | trim }}{% endif %}"),
    ],
)
def test_a_long_conversation_stays_within_the_limits(turns, source):
    said = [{"role": "user", "content": f"number {n} " * 9} for n in range(turns)]
    given = {"bos_token": "<s>", "eos_token": "</s>", "tools": None, "date_string": "26 Jul 2024"}
    assert render("{% for m in messages %}" + source + "{% endfor %}", said, given).startswith("number 0")


def test_a_template_is_worth_the_same_whenever_it_is_rendered():
    """Of what it computes nothing is computed, and counted, when it is compiled."""
    source, left = "{{ 'a' | upper }}{{ [1, 2] | sum is odd }}", []
    for _ in range(2):
        before = chat_template._left.set(chat_template.WORK)
        "".join(chat_template._compiled(source).generate())
        left.append(chat_template._left.get())
        chat_template._left.reset(before)
    assert left[0] == left[1] < chat_template.WORK


# -- thinking

OPENS = (
    # generation prompt, header in history, source: open, close, closing
    ("<|A|><think>\n", "<|A|>", "", "<think>", "</think>", "\n</think>\n\n"),
    ("<|A|><think>", "<|A|>", "", "<think>", "</think>", "</think>"),
    ("a\n<think>\n", "a\n<think>\n\n</think>\n\n", "", "<think>", "</think>", "\n</think>\n\n"),
    ("a\n<think>\n", "a\n<think></think>", "", "<think>", "</think>", "\n</think>\n\n"),
    ("[A][THINK]", "[A]", "", "[THINK]", "[/THINK]", "[/THINK]"),
    ("<|A|><|START_THINKING|>", "<|A|>", "", "<|START_THINKING|>", "<|END_THINKING|>", "<|END_THINKING|>"),
    ("<|A|><|begin_of_it|>\n", "<|A|>", "", "<|begin_of_it|>", "<|end_of_it|>", "\n<|end_of_it|>\n\n"),
    ("a◁think▷", "a", "", "◁think▷", "◁/think▷", "◁/think▷"),
    ("a\n<seed:think>\n", "a\n", "", "<seed:think>", "</seed:think>", "\n</seed:think>\n\n"),
    # The block is closed, or the model opens it by itself.
    ("a\n<think>\n\n</think>\n\n", "a\n", "'<think>' '</think>'", "<think>", "</think>", ""),
    ("a\n", "a\n", "x.split('</think>') + '<think>'", "<think>", "</think>", ""),
    # The template names what closes it alone.
    ("a\n", "a\n", "x.split('</think>')[-1]", "<think>", "</think>", ""),
    ("a\n", "a\n", "x.split('[/THINK]')[-1]", "[THINK]", "[/THINK]", ""),
    ("a\n", "a\n", "x.split('◁/think▷')[-1]", "◁think▷", "◁/think▷", ""),
    ("a\n", "a\n", "'<|END_THINKING|>' in x", "<|START_THINKING|>", "<|END_THINKING|>", ""),
    ("a\n", "a\n", "'<|end_of_thought|>' in x", "<|begin_of_thought|>", "<|end_of_thought|>", ""),
)  # fmt: skip


@pytest.mark.parametrize("opening, header, source, open, close, closing", OPENS)
def test_blocks_that_a_model_must_close(opening, header, source, open, close, closing):
    assert thinking_of(opening, header, source) == Thinking(open, close, closing)


@pytest.mark.parametrize(
    "header", ["<assistant>\n", "[/INST]", "<start_of_turn>model\n", "<|im_start|>assistant\n", "A:"]
)
def test_headers_are_no_blocks(header):
    assert thinking_of(header, header, f"'{header}' '</assistant>' '[INST]' '[/INST]'") is None


def test_a_thought_is_told_from_the_reply():
    opened, own = Thinking("<think>", "</think>", "\n</think>\n\n"), Thinking("<think>", "</think>")
    assert opened.split("Hm.\n</think>\n\nYes.") == ("Hm.", "\n\nYes.", True)
    assert opened.split("<think>\nHm.</think>Yes.") == ("Hm.", "Yes.", True)
    assert opened.split("Hm, and on") == ("Hm, and on", "", False)
    assert own.split("<think>Hm.</think>Yes </think>") == ("Hm.", "Yes </think>", True)
    assert own.split("<think>Hm") == ("Hm", "", False)
    assert own.split("Yes.") == (None, "Yes.", True)
