"""A model's folder that cannot be used is an error of the program, told before anything runs."""

import json
import shutil

import pytest
import tokenizers

from cai_jax.cli import main
from cai_jax.errors import UserError
from cai_jax.stages import model
from tests.models.test_checkpoint import cut, damage, edit, lose_a_shard, pickled
from tests.support import llama
from tests.support.contexts import Context


def foreign(path):
    backend = tokenizers.Tokenizer.from_file(str(path / "tokenizer.json"))
    backend.add_tokens([f"word{number}" for number in range(llama.VOCAB)])
    backend.save(str(path / "tokenizer.json"))


def templated(template):
    def change(path):
        file = path / "tokenizer_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"chat_template": template}))

    return change


def alone(path):
    pickled(path)
    for each in path.iterdir():
        if each.name not in ("config.json", "pytorch_model.bin"):
            each.unlink()


# What is done to the folder -> what is said of it, and the cure.
BREAKAGES = {
    "no weights": (lambda path: (path / "model.safetensors").unlink(), "model.safetensors does not exist", "converted"),
    "pickled weights": (
        pickled,
        "model.safetensors does not exist",
        "are converted with transformers' save_pretrained",
    ),
    "pickled weights alone": (alone, "model.safetensors does not exist", "converted with transformers"),
    "cut off": (cut, "model.safetensors is cut off or damaged", "fetch it again"),
    "damaged": (damage, "model.safetensors is cut off or damaged", "fetch it again"),
    "a shard missing": (lose_a_shard, "index.json lists it", "fetch it"),
    "a layer missing": (lambda path: edit(path, num_hidden_layers=3), "lack model.layers.2.", "of another model"),
    "very many layers": (lambda path: edit(path, num_hidden_layers=10**9), "num_hidden_layers 1000000000", "to 1000"),
    "no number": (lambda path: edit(path, rms_norm_eps="x"), "rms_norm_eps 'x'", "it is a number above 0"),
    "another tokenizer": (foreign, "but the model has embeddings of 300 ids", "they belong to different models"),
    "no tokenizer": (lambda path: (path / "tokenizer.json").unlink(), "tokenizer.json does not exist", "fetch"),
    "a broken one": (
        lambda path: (path / "tokenizer.json").write_text("{}"),
        "files cannot be read",
        "fetch them again",
    ),
    "a template that raises": (templated("{{ raise_exception('not today') }}"), "fails: not today", 'format="paper"'),
    "a template with an error": (templated("{% for m in messages %}"), "chat template fails: ", 'format="paper"'),
    "a template that drops": (templated("{{ messages[-1].content }}"), "drops, ", 'format="paper"'),
    "no default template": (
        templated([{"name": "tools", "template": "x"}]),
        "none is called default",
        'format="paper"',
    ),
}


def code(words):
    with pytest.raises(SystemExit) as ended:
        main(words)
    return ended.value.code


@pytest.fixture
def program(directory, tmp_path):
    """(folder of a model, a program that samples from it)."""
    path = tmp_path / "model"
    shutil.copytree(directory, path)
    (tmp_path / "p.jsonl").write_text('{"prompt": "Hello"}\n')
    text = f'base = model("{path}")\nasked = prompts("p.jsonl")\nreplies = asked |> sample(base, max_new=2)\n'
    (tmp_path / "p.cai").write_text(text)
    return path, tmp_path / "p.cai"


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_a_folder_that_cannot_be_used_is_told_at_check(program, breakage, capfd):
    path, file = program
    harm, message, cure = BREAKAGES[breakage]
    harm(path)
    for words in (["check"], ["plan", "--out", str(file.parent / "out"), "--prompts", "1"]):
        assert code([*words, str(file)]) == 3
        shown = capfd.readouterr()
        said = " ".join((shown.out + shown.err).split())
        assert "E227" in said and message in said and cure in said, said
        assert "this is a bug" not in said and "Traceback" not in said


def test_a_shape_alone_can_be_planned_and_not_run(program, capfd):
    path, file = program
    for each in path.iterdir():
        if each.name != "config.json":
            each.unlink()
    assert code(["check", str(file)]) == 0
    assert "says a model's shape and holds no weights" in " ".join(capfd.readouterr().out.split())
    assert code(["run", "--out", str(file.parent / "out"), str(file)]) == 4
    said = " ".join(capfd.readouterr().err.split())
    assert "base (model) failed" in said and "model.safetensors does not exist" in said
    # Nor is anything else made before that is known.
    early = 'first = asked |> sample(model("builtin:tiny"), max_new=2)\n'
    file.write_text(file.read_text().replace("replies =", early + "replies =") + "both = first + replies\n")
    assert code(["run", "--out", str(file.parent / "out"), str(file)]) == 4
    assert "base (model) failed" in " ".join(capfd.readouterr().err.split())
    assert not list((file.parent / "out" / "cache").glob("sample-*"))


def test_a_template_that_cannot_be_used_is_told_of_fresh_weights_and_by_a_run(program, capfd):
    path, file = program
    templated("{{ raise_exception('not today') }}")(path)
    with pytest.raises(UserError, match="fails: not today"):
        model.run(Context("model", path=str(path)))
    assert model.run(Context("model", path=str(path), format="paper")) == {"dtype": "float32", "format": "paper"}
    file.write_text(file.read_text().replace(f'model("{path}")', f'model("init:tiny", tokenizer="{path}")'))
    assert code(["check", str(file)]) == 3
    assert "E227" in (said := " ".join(capfd.readouterr().out.split())) and "fails: not today" in said
    file.write_text(file.read_text().replace(f'tokenizer="{path}")', f'tokenizer="{path}", format=paper)'))
    assert code(["check", str(file)]) == 0


def test_a_sound_one_is_not(program, capfd):
    _, file = program
    assert code(["check", str(file)]) == 0
    assert "0 errors" in capfd.readouterr().out


def test_an_adapter_is_told_with_its_base(program, tmp_path, capfd):
    path, file = program
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    settings = {"peft_type": "LORA", "base_model_name_or_path": str(path), "init_lora_weights": "pissa"}
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    file.write_text(file.read_text().replace(str(path), str(adapter)))
    assert code(["check", str(file)]) == 3
    assert "init_lora_weights 'pissa', which changes the base" in " ".join(capfd.readouterr().out.split())
    pickled(path)
    assert code(["check", str(file)]) == 3
    assert "model.safetensors does not exist" in " ".join(capfd.readouterr().out.split())


def test_the_tokenizer_of_fresh_weights_is_told(program, tmp_path, capfd):
    path, file = program
    (tmp_path / "none").mkdir()
    file.write_text(file.read_text().replace(f'model("{path}")', 'model("init:tiny", tokenizer="none")'))
    assert code(["check", str(file)]) == 3
    assert "E227" in (said := " ".join(capfd.readouterr().out.split())) and "there is no tokenizer in none" in said
