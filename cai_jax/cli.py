"""The command line. Each command imports what it needs, so that `check` starts fast and never sees JAX."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

import click

from cai_jax import __version__, exits
from cai_jax.runs.errors import EXPECT_FAILED, INTERRUPTED, PROGRAM_WRONG, Interrupted

if TYPE_CHECKING:
    from cai_jax.lang.diagnostics import Diagnostic
    from cai_jax.lang.plan import Plan
    from cai_jax.runs.executor import Reporter
    from cai_jax.runs.session import Shown
    from cai_jax.runs.signals import Interrupts


def _remember(context: click.Context, _: click.Parameter, out: Path) -> Path:
    """Tells `exits` where `--out` is."""
    context.ensure_object(dict)["out"] = out
    return out


PROGRAM = click.argument("program", type=click.Path(exists=True, dir_okay=False, path_type=Path))
SET = click.option("--set", "sets", multiple=True, metavar="KNOB=VALUE", help="Sets a knob of the program.")
OUT = click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs"),
    show_default=True,
    envvar="CAI_JAX_OUT",
    callback=_remember,
    help="Folder that holds the cache and the runs.",
)
RUN = click.option("--run", "run_name", default="", help="The run whose names are meant; without it, the latest.")
JSON = click.option("--json", "as_json", is_flag=True, help="Prints one JSON value instead of text.")
SEED = click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Seed of the run, in place of the program's.")
DISTRIBUTED = click.option(
    "--distributed",
    is_flag=True,
    envvar="CAI_JAX_DISTRIBUTED",
    help="This is one of several processes of the run, one on every host (tpu/README.md).",
)
PROMPT_TOKENS = click.option(
    "--prompt-tokens",
    type=click.IntRange(1),
    default=512,
    show_default=True,
    metavar="N",
    help="The longest prompt, which no data is read to find.",
)
LIMIT = click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the first N rows of every split.")


@click.group(cls=exits.Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="cai-jax")
def cli() -> None:
    """Constitutional AI from one page: a constitution, a pipeline, and claims to be met."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point; ends the process with the exit codes of DESIGN.md §1.

    Args:
      arguments: of the command line; None takes the process's own.
    """
    sys.exit(exits.code_of(cli, sys.argv[1:] if arguments is None else arguments))


@cli.command()
@PROGRAM
@SET
@JSON
def check(program: Path, sets: Sequence[str], as_json: bool) -> None:
    """Finds every error of a program without running it."""
    from cai_jax.runs.programs import checked as check_program
    from cai_jax.stages import registry

    checked = check_program(program, program.read_bytes(), sets, registry())
    if as_json:
        _print_json({"ok": checked.ok, "diagnostics": [found.as_json() for found in checked.diagnostics]})
    else:
        warnings = sum(found.warning for found in checked.diagnostics)
        errors = _count(len(checked.diagnostics) - warnings, "error")
        click.echo(_rendered(checked.diagnostics, sys.stdout), nl=False)
        click.echo(f"{program}: {errors}, {_count(warnings, 'warning')}")
    if not checked.ok:
        sys.exit(PROGRAM_WRONG)


@cli.command()
@click.argument("programs", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--check", "only_check", is_flag=True, help="Changes nothing; exits with 1 if it would.")
def fmt(programs: Sequence[Path], only_check: bool) -> None:
    """Formats programs in place, and names those that changed."""
    from cai_jax.lang.format import format_text
    from cai_jax.runs.files import write_text

    wrong = changed = False
    for program in programs:
        before = program.read_bytes()
        formatted = format_text(before, str(program))
        if formatted.text is None:
            click.echo(_rendered(formatted.diagnostics, sys.stderr), nl=False, err=True)
            wrong = True
        elif formatted.text.encode() != before:
            changed = True
            click.echo(str(program))
            if not only_check:
                write_text(program, formatted.text)
    if wrong or (only_check and changed):
        sys.exit(PROGRAM_WRONG if wrong else EXPECT_FAILED)


@cli.command()
@click.argument("code")
def explain(code: str) -> None:
    """Explains a diagnostic code, such as E210."""
    from cai_jax.lang.diagnostics import catalogue, did_you_mean
    from cai_jax.lang.diagnostics import explain as explanation

    text = explanation(code)
    if text is None:
        known = sorted(catalogue())
        hint = did_you_mean(code.upper(), known) or f"there are {known[0]} to {known[-1]}"
        raise click.UsageError(f"there is no diagnostic {code!r}; {hint}")
    click.echo(text, nl=False)


@cli.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--template", default="quickstart", show_default=True, help="The program to start from.")
def new(path: Path, template: str) -> None:
    """Writes a program (and what it needs) to start from."""
    from cai_jax.lang import templates
    from cai_jax.runs.files import write_text

    if path.name in ("", ".."):
        raise click.UsageError(f"{str(path)!r} names no program; write for example  cai-jax new mine.cai")
    target = path if path.suffix == ".cai" else path.with_name(f"{path.name}.cai")
    if target.exists():
        raise click.UsageError(f"{target} is there already")
    for name, text in templates.new(template, target.stem).items():
        file = target.parent / name
        if file.exists():
            click.echo(f"kept {file}")
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, text)
        click.echo(f"wrote {file}")
    click.echo(f"run it with  cai-jax run {target}")


@cli.command()
@PROGRAM
@SET
@SEED
@LIMIT
@OUT
@JSON
@click.option("--prompts", type=click.IntRange(1), metavar="N", help="Prints N exact prompts of every stage.")
@click.option(
    "--topology",
    default="cpu:1",
    show_default=True,
    metavar="NAME",
    help="For which machine costs are estimated, such as v5e:4x4 or cpu:8.",
)
@PROMPT_TOKENS
def plan(
    program: Path,
    sets: Sequence[str],
    seed: int | None,
    limit: int | None,
    out: Path,
    as_json: bool,
    prompts: int | None,
    topology: str,
    prompt_tokens: int,
) -> None:
    """Shows what a run would do: what is cached, why the rest runs, and what it costs.

    Costs are estimates for all devices together, from shapes alone: tokens with their padding, FLOPs of products, and
    bytes to and from main memory, of the steps that `compile` compiles for the same topology and longest prompt.
    """
    from cai_jax.parallel import machines
    from cai_jax.runs import planview, preview
    from cai_jax.runs.cache import Cache
    from cai_jax.stages import registry

    planned = _planned(program, program.read_bytes(), sets, seed, limit, out)
    for warning in preview.warnings(planned, registry(), Cache(out / "cache")):
        click.echo(f"warning: {warning}", err=True)
    machine = machines.named(topology)
    lines = planview.lines(planned, registry(), Cache(out / "cache"), machine, prompt_tokens)
    shown = list(preview.prompts(planned, registry(), Cache(out / "cache"), prompts)) if prompts else []
    if as_json:
        more = {"prompts": [preview.as_json(*each) for each in shown]} if prompts else {}
        _print_json({"nodes": planview.as_json(lines), **more})
        return
    click.echo(planview.text(lines))
    for each in shown:
        click.echo("\n" + preview.text(*each))


@cli.command("compile")
@PROGRAM
@SET
@LIMIT
@OUT
@JSON
@click.option("--only", default="", metavar="NODE", help="Compiles the steps of this node alone.")
@click.option("--topology", required=True, metavar="NAME", help="For which machine, such as v5e:4x4 or cpu:8.")
@PROMPT_TOKENS
def compile_(
    program: Path,
    sets: Sequence[str],
    limit: int | None,
    out: Path,
    as_json: bool,
    only: str,
    topology: str,
    prompt_tokens: int,
) -> None:
    """Compiles every step of a program for a machine that need not be there, and shows what it takes."""
    from cai_jax.parallel import aot
    from cai_jax.runs import compiling
    from cai_jax.runs.session import chosen
    from cai_jax.stages import registry

    machine = aot.topology(topology)
    planned = _planned(program, program.read_bytes(), sets, None, limit, out)
    key = chosen(planned, only) if only else ""
    say = lambda text: click.echo(text, err=True)  # noqa: E731
    try:
        with _stopping("stopping after the steps that are being compiled; what was compiled is kept") as interrupts:
            given = (planned, registry(), machine, prompt_tokens, say, out / "compiled", interrupts, key)
            found = list(compiling.rows(*given))
    except KeyboardInterrupt:
        os._exit(INTERRUPTED)  # nothing else stops the compiler within a step
    if as_json:
        _print_json(compiling.as_json(found, machine))
    else:
        click.echo(compiling.text(found, machine))
    compiling.refuse(found, machine)


def _program_help(context: click.Context, _: click.Parameter, asked: bool) -> None:
    """`cai-jax run P.cai --help`: the command's help, then the program's knobs."""
    if not asked or context.resilient_parsing:
        return
    click.echo(context.get_help())
    for program in [Path(word) for word in context.args_given if word.endswith(".cai") and Path(word).is_file()]:
        from cai_jax.runs.knobs import knobs_text
        from cai_jax.runs.programs import checked
        from cai_jax.stages import registry

        click.echo(f"\nKnobs of {program}:\n{knobs_text(checked(program, program.read_bytes(), (), registry()).knobs)}")
    context.exit()


class _Run(click.Command):
    """A command that remembers its arguments, for a help that depends on them."""

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        context.args_given = list(arguments)
        return super().parse_args(context, arguments)


@cli.command(cls=_Run, add_help_option=False)
@click.option(
    *("-h", "--help"),
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_program_help,
    help="Shows this and, after a program, its knobs.",
)
@PROGRAM
@SET
@click.option("--only", default="", metavar="NODE", help="Makes only this node and what it is made from.")
@LIMIT
@click.option("--force", multiple=True, metavar="NODE", help="Makes this node anew, and what is made from it.")
@SEED
@OUT
@JSON
@DISTRIBUTED
def run(
    program: Path,
    sets: Sequence[str],
    only: str,
    limit: int | None,
    force: Sequence[str],
    seed: int | None,
    out: Path,
    as_json: bool,
    distributed: bool,
) -> None:
    """Runs a program: what is not in the cache, then its metrics and claims."""
    from cai_jax.parallel import processes
    from cai_jax.runs import session
    from cai_jax.runs.folder import RunFolder
    from cai_jax.stages import registry

    if distributed:
        session.prepare_jax(out)
        processes.join()
    text = program.read_bytes()
    planned = _planned(program, text, sets, seed, limit, out)
    options = session.Options(out, only, force)
    session.check_options(planned, options)
    about = {"seed": planned.settings["seed"], "overrides": list(sets), "limit": limit, "only": only}
    folder = RunFolder.create(out, program, text, session.plan_json(planned, registry()), about)
    with _working() as (reporter, interrupts):
        try:
            shown = session.run(planned, folder, options, registry(), reporter, interrupts, _statistics())
        except BaseException as error:
            if hasattr(error, "shown"):
                reporter.close()
                _tell(error.shown, as_json)
            raise
    _tell(shown, as_json)
    if shown.status != "ok":
        sys.exit(EXPECT_FAILED)


@cli.command()
@PROGRAM
@SET
@OUT
@JSON
@click.option("--flow", default="", help="Which flow, where the program has several.")
@click.option("--prompt", "prompts", multiple=True, help="A prompt; without any, each line of stdin is one.")
def guard(program: Path, sets: Sequence[str], out: Path, as_json: bool, flow: str, prompts: Sequence[str]) -> None:
    """Answers prompts through a program's flow, and shows what was flagged and revised."""
    from cai_jax.runs import guarding, session
    from cai_jax.stages import registry

    planned = _planned(program, program.read_bytes(), sets, None, None, out)
    chosen = guarding.flow_of(planned, flow)
    texts = _prompts(prompts)
    session.prepare_jax(out)
    with _working() as (reporter, interrupts):
        told = guarding.guard(planned, chosen, texts, out, registry(), reporter, interrupts)
    if as_json:
        _print_json(told)
    else:
        click.echo("\n\n".join(guarding.text(one) for one in told))


@cli.command()
@OUT
@JSON
@click.option("--nodes", is_flag=True, help="Lists the nodes in the cache instead of the runs.")
def ls(out: Path, as_json: bool, nodes: bool) -> None:
    """Lists the runs, the newest first."""
    from cai_jax.runs import browse

    found = browse.nodes(out) if nodes else browse.runs(out)
    if as_json:
        _print_json(found)
    else:
        click.echo(browse.nodes_text(found) if nodes else browse.runs_text(found))


@cli.command()
@click.argument("node")
@OUT
@JSON
@RUN
@click.option("--rows", type=click.IntRange(0), default=3, show_default=True, help="How many rows to print.")
def show(node: str, out: Path, as_json: bool, run_name: str, rows: int) -> None:
    """Shows a node, by its name in a run or by its key: what made it, what came of it, its first rows."""
    from cai_jax.runs import browse

    found = browse.node(browse.find(out, node, run_name), rows)
    if as_json:
        _print_json(found)
    else:
        click.echo(browse.node_text(found))


@cli.command()
@click.argument("node")
@click.argument("folder", type=click.Path(path_type=Path))
@OUT
@RUN
def export(node: str, folder: Path, out: Path, run_name: str) -> None:
    """Writes a model, by its name in a run or by its key, into a folder that transformers opens; merges its adapter."""
    from cai_jax.runs import browse, exporting

    exporting.export(browse.find(out, node, run_name), folder)
    click.echo(f"wrote {folder}")


def _prompts(given: Sequence[str]) -> list[str]:
    """The prompts of the command line, or else the lines of stdin that are not empty."""
    if not given:
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")
    texts = [line.strip() for line in given or sys.stdin]
    if given and not all(texts):
        raise click.UsageError("a prompt is empty")
    for number, text in enumerate(texts, 1):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise click.UsageError(f"prompt {number} is not UTF-8: {ascii(text)}") from None
    texts = [text for text in texts if text]
    if not texts:
        raise click.UsageError("no prompts: give --prompt, or lines on stdin")
    return texts


def _planned(program: Path, text: bytes, sets: Sequence[str], seed: int | None, limit: int | None, out: Path) -> Plan:
    """The program's plan; ends the command if the program is wrong."""
    from cai_jax.runs import programs
    from cai_jax.stages import registry

    checked = programs.checked(program, text, sets, registry())
    click.echo(_rendered(checked.diagnostics, sys.stderr), nl=False, err=True)
    if not checked.ok:
        sys.exit(PROGRAM_WRONG)
    return programs.planned(checked, registry(), out, seed, limit)


@contextmanager
def _working() -> Iterator[tuple[Reporter, Interrupts]]:
    """Progress on stderr, and signals that wait for the end of a batch."""
    from cai_jax.runs.progress import reporter

    told = reporter()
    try:
        with _stopping("stopping after this batch") as interrupts:
            yield told, interrupts
    except KeyboardInterrupt:
        raise Interrupted(signal.SIGINT) from None
    finally:
        told.close()


def _stopping(when: str) -> Interrupts:
    """Signals that wait until the work can stop; the first is told when that is."""
    from cai_jax.runs.signals import Interrupts

    # Written past Python's buffers: a signal may arrive in the middle of a write to them.
    said = f"\n{when}; press Ctrl-C again to stop at once\n".encode()
    return Interrupts(lambda: os.write(2, said))


def _statistics() -> ModuleType:
    from cai_jax.evals import intervals

    return intervals


def _rendered(found: Sequence[Diagnostic], stream: TextIO) -> str:
    from cai_jax.lang.diagnostics import render

    text = render(found, colour=stream.isatty() and not os.environ.get("NO_COLOR"))
    return f"{text}\n" if text else ""


def _tell(shown: Shown, as_json: bool) -> None:
    """What a run has come to, also where it went no further; of several processes the first tells."""
    from cai_jax.parallel import processes
    from cai_jax.runs.session import summary

    if not processes.first():
        return
    if as_json:
        _print_json(shown.as_json())
    else:
        click.echo(summary(shown))


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=1))


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
