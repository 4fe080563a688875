"""`sample` and `best`."""

import pytest


def test_n_seeds_and_rows(bench):
    ran = bench.run("""\
first = red.train |> sample(base, n=2, max_new=8)
again = red.train |> sample(base, n=2, max_new=8, seed=1)
every = first + again
""")
    first, again = ran.rows("first"), ran.rows("again")
    assert [row["sample"] for row in first] == [0, 1] * 8
    assert [row["id"] for row in first[::2]] == [row["id"] for row in first[1::2]]
    assert len({row["id"] for row in first}) == 8
    for row in first:
        assert {"turns", "split", "reply", "logprob", "tokens", "ended", "model", "seed"} <= set(row)
        assert row["prompt"] == f"\n\nHuman: {row['turns'][-1]['text']}\n\nAssistant:" or len(row["turns"]) > 1
        assert row["split"] == "train" and 1 <= row["tokens"] <= 8 and row["logprob"] < 0
        assert row["ended"] or row["tokens"] == 8
    assert [row["reply"] for row in first[::2]] != [row["reply"] for row in first[1::2]]
    assert not {row["reply"] for row in first} & {row["reply"] for row in again}
    assert len(ran.rows("every")) == 32


def test_a_rename_and_a_comment_rerun_nothing(bench):
    bench.run("first = red.train |> sample(base, n=2, max_new=8)\n")
    ran = bench.run("# other words\nreplies = red.train |> sample(base, max_new=8,  n=2)\n")
    assert not ran.made


def test_the_same_words_on_another_day(bench, tmp_path):
    text = "first = red.train |> sample(base, n=2, max_new=8)\n"
    assert bench.run(text).rows("first") == bench.run(text, out=tmp_path).rows("first")
    other = bench.run(text, "--seed", "5", "--only", "first", out=tmp_path)
    assert other.rows("first") != bench.run(text).rows("first")


def test_a_prompt_drawn_alone_gets_the_reply_that_it_gets_in_company(bench):
    ran = bench.run("""\
first = red.train |> sample(base, n=2, max_new=8)
few   = prompts("builtin:red_team", limit=3)
alone = few.train |> sample(base, max_new=8)
every = first + alone
""")
    assert [row["reply"] for row in ran.rows("alone")] == [row["reply"] for row in ran.rows("first")[:6:2]]


def test_greedy(bench):
    ran = bench.run("""\
one   = red.train |> sample(base, max_new=8, temperature=0)
other = red.train |> sample(base, max_new=8, temperature=0, seed=1)
every = one + other
""")
    assert [row["reply"] for row in ran.rows("one")] == [row["reply"] for row in ran.rows("other")]


def test_best_keeps_the_highest_score(bench):
    ran = bench.run("""\
replies = red.train |> sample(base, n=3, max_new=8)
rm      = human.train |> reward(base, batch=8)
top     = replies |> best(rm)
""")
    from cai_jax.pipeline.reward_scoring import raw_scores
    from cai_jax.prompting.paper_format import PAPER

    replies, top = ran.rows("replies"), ran.rows("top")
    scores = raw_scores(ran.model("rm"), PAPER, [(row["turns"], row["reply"]) for row in replies]).reshape(8, 3)
    best = scores.argmax(axis=1)
    assert [row["sample"] for row in top] == best.tolist()
    assert [row["reply"] for row in top] == [replies[3 * n + place]["reply"] for n, place in enumerate(best)]
    assert [row["score"] for row in top] == scores.max(axis=1).tolist()


def test_one_reply_is_no_choice(bench):
    ran = bench.run(
        "rm = human.train |> reward(base, batch=8)\ntop = red.train |> sample(base, max_new=8) |> best(rm)\n", code=3
    )
    assert "E210" in ran.err


@pytest.mark.parametrize(
    ("text", "name", "most"),
    [
        ("x = red.train |> sample(base, n=9007199254740992)\n", "n", "65536"),
        ("x = red.train |> sample(base, n=65537)\n", "n", "65536"),
        ("x = red.train |> sample(base) |> finetune(base, epochs=1e300)\n", "epochs", "1000000"),
        ("x = human.train |> reward(base, epochs=1000001)\n", "epochs", "1000000"),
        ("x = red.train |> sample(base, seed=4294967296)\n", "seed", "4294967295"),
    ],
)
def test_numbers_that_no_run_could_come_to_an_end_with_are_refused(bench, text, name, most):
    code, out, err = bench.call("check", bench.program(text))
    assert code == 3 and "E237" in out + err and f"`{name}`" in out + err and most in out + err
    within = text.replace("9007199254740992", "65536").replace("65537", "65536").replace("1e300", "1e6")
    within = within.replace("1000001", "1000000").replace("4294967296", "4294967295")
    assert "E237" not in "".join(bench.call("check", bench.program(within))[1:])


def test_overlong_prompts(bench):
    bench.write("long.jsonl", [{"prompt": "short"}, {"prompt": "long " * 600}])
    text = 'mine = prompts("long.jsonl", test=0)\nreplies = mine |> sample(base, max_new=8{})\n'
    skipped = bench.run(text.format(""))
    assert len(skipped.rows("replies")) == 1
    assert skipped.notes("replies")["overlong"].startswith("1 of 2 rows")
    assert "overlong" in bench.call("run", bench.root / "program.cai", "--out", bench.root / "runs")[1]
    cut = bench.run(text.format(", overlong=truncate_left"))
    assert len(cut.rows("replies")) == 2
    assert cut.notes("replies")["overlong"] == "1 of 2 rows are too long and lost their beginning"
    assert cut.result("replies")["ended"] < 0.8 and "raise max_new=" in cut.notes("replies")["unended"]
    failed = bench.run(text.format(", overlong=error"), code=4)
    assert "does not fit" in failed.err and "overlong=skip" in failed.err
