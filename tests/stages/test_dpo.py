"""`dpo` in programs."""


def test_first(bench):
    ran = bench.run(
        "pairs = red.train |> sample(base, n=2, max_new=8)\nlabels = pairs |> judge(rules, fewshots=0)\nx = labels + human.train |> dpo(base, batch=4, epochs=3, learning_rate=1e-3)\n"
    )
    for line in ran.log("x"):
        print(line)
    print(ran.rows("x")[:3], ran.result("x"), ran.notes("x"))
