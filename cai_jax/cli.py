"""The command line. Each command imports what it needs, so that `check` starts fast and never sees JAX."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

import click

from cai_jax import __version__
from cai_jax.commands import exits, streams
from cai_jax.commands.options import (
    DISTRIBUTED,
    JSON,
    LIMIT,
    OUT,
    PROGRAM,
    PROGRAMS,
    PROMPT_TOKENS,
    RUN,
    SEED,
    SET,
    WIDE,
)
from cai_jax.exit_codes import EXPECT_FAILED, INTERRUPTED, PROGRAM_WRONG, STAGE_FAILED, Interrupted
from cai_jax.terminal import json_escaped, say, under, visible, width

if TYPE_CHECKING:
    from cai_jax.commands.session import Shown
    from cai_jax.lang.diagnostics import Diagnostic
    from cai_jax.lang.plan import Plan
    from cai_jax.runs.executor import Reporter
    from cai_jax.runs.signals import Interrupts


@click.group(cls=exits.Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="cai-jax")
def cli() -> None:
    """Constitutional AI from one page: a constitution, a pipeline, and claims to be met."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point; ends the process with the exit codes of `exit_codes`.

    Args:
      arguments: of the command line; None takes the process's own.
    """
    streams.prepare()
    sys.exit(exits.code_of(cli, sys.argv[1:] if arguments is None else arguments))


@cli.command()
@PROGRAMS
@SET
@JSON
def check(programs: Sequence[Path], sets: Sequence[str], as_json: bool) -> None:
    """Finds every error of programs without running them."""
    from cai_jax.runs.programs import checked as check_program
    from cai_jax.stages import registry

    found = [check_program(program, program.read_bytes(), sets, registry()) for program in programs]
    if as_json:
        told = [{"ok": one.ok, "diagnostics": [each.as_json() for each in one.diagnostics]} for one in found]
        _print_json(told[0] if len(told) == 1 else told)
    else:
        for program, one in zip(programs, found, strict=True):
            warnings = sum(each.warning for each in one.diagnostics)
            errors = _count(len(one.diagnostics) - warnings, "error")
            _tell(_rendered(one.diagnostics, sys.stdout))
            say(visible(f"{program}: {errors}, {_count(warnings, 'warning')}"))
    if not all(one.ok for one in found):
        sys.exit(PROGRAM_WRONG)


@cli.command()
@PROGRAMS
@click.option("--check", "only_check", is_flag=True, help="Changes nothing; exits with 1 if it would.")
def fmt(programs: Sequence[Path], only_check: bool) -> None:
    """Formats programs in place, and names those that changed."""
    from cai_jax.lang.formatter import format_text
    from cai_jax.runs.files import write_text

    wrong = changed = False
    for program in programs:
        before = program.read_bytes()
        formatted = format_text(before, str(program))
        if formatted.text is None:
            _tell(_rendered(formatted.diagnostics, sys.stderr), sys.stderr)
            wrong = True
        elif formatted.text.encode() != before:
            changed = True
            if not only_check:
                write_text(program, formatted.text)
            say(visible(str(program)))
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
    say(text.rstrip("\n"))


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
            say(visible(f"kept {file}"))
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, text)
        say(visible(f"wrote {file}"))
    say(visible(f"run it with  cai-jax run {target}"))


@cli.command()
@PROGRAM
@SET
@SEED
@LIMIT
@OUT
@JSON
@WIDE
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
    wide: bool,
    prompts: int | None,
    topology: str,
    prompt_tokens: int | None,
) -> None:
    """Shows what a run would do: what is cached, why the rest runs, and what it costs.

    Costs are estimates for all devices together: tokens with their padding, FLOPs of products, and bytes to and from
    main memory, of the steps that `compile` compiles for the same topology and longest prompt. Data that is here is
    read for its rows and the length of its prompts or documents.
    """
    from cai_jax.forecast import machines
    from cai_jax.report import plan_view, prompts_preview
    from cai_jax.runs import data_sizes
    from cai_jax.runs.cache import Cache
    from cai_jax.stages import registry

    planned = _planned(program, program.read_bytes(), sets, seed, limit)
    data = prompts_preview.read(planned, registry(), Cache(out / "cache"))
    for warning in prompts_preview.warnings(planned, registry(), data):
        say(under("warning: ", visible(warning)), sys.stderr)
    sized = data_sizes.sized(planned, registry(), data.rows, data.documents, prompt_tokens)
    lines = plan_view.lines(sized, registry(), Cache(out / "cache"), machines.named(topology))
    shown = list(prompts_preview.prompts(planned, registry(), Cache(out / "cache"), prompts)) if prompts else []
    if as_json:
        more = {"prompts": [prompts_preview.as_json(*each) for each in shown]} if prompts else {}
        _print_json({"nodes": plan_view.as_json(lines), "data": data_sizes.as_json(sized.data), **more})
        return
    say(plan_view.text(lines, sized.data, _columns(wide)))
    for each in shown:
        say("\n" + prompts_preview.text(*each))


@cli.command("compile")
@PROGRAM
@SET
@LIMIT
@OUT
@JSON
@WIDE
@click.option("--only", default="", metavar="NODE", help="Compiles the steps of this node alone.")
@click.option("--topology", required=True, metavar="NAME", help="For which machine, such as v5e:4x4 or cpu:8.")
@PROMPT_TOKENS
def compile_(
    program: Path,
    sets: Sequence[str],
    limit: int | None,
    out: Path,
    as_json: bool,
    wide: bool,
    only: str,
    topology: str,
    prompt_tokens: int | None,
) -> None:
    """Compiles every step of a program for a machine that need not be there, and shows what it takes."""
    from cai_jax.commands.session import chosen
    from cai_jax.forecast import aot
    from cai_jax.pipeline.row_counts import PROMPT
    from cai_jax.report import compiled_steps
    from cai_jax.runs.node_labels import every
    from cai_jax.stages import registry

    machine = aot.topology(topology)
    planned = _planned(program, program.read_bytes(), sets, None, limit)
    key = chosen(planned, registry(), only, every(planned)) if only else ""
    tell = lambda text: say(visible(text), sys.stderr)  # noqa: E731
    try:
        with _stopping("stopping after the steps that are being compiled; what was compiled is kept") as interrupts:
            given = (planned, registry(), machine, prompt_tokens or PROMPT, tell, out / "compiled", interrupts, key)
            found = list(compiled_steps.rows(*given))
    except KeyboardInterrupt:
        os._exit(INTERRUPTED)  # nothing else stops the compiler within a step
    if as_json:
        _print_json(compiled_steps.as_json(found, machine))
    else:
        say(compiled_steps.text(found, machine, _columns(wide)))
    compiled_steps.refuse(found, machine)


def _program_help(context: click.Context, _: click.Parameter, asked: bool) -> None:
    """`cai-jax run P.cai --help`: the command's help, then the program's knobs."""
    if not asked or context.resilient_parsing:
        return
    say(context.get_help())
    for program in [Path(word) for word in context.args_given if word.endswith(".cai") and Path(word).is_file()]:
        from cai_jax.commands.knobs import knobs_text
        from cai_jax.runs.programs import checked
        from cai_jax.stages import registry

        knobs = knobs_text(checked(program, program.read_bytes(), (), registry()).knobs, _columns(False))
        say(f"\nKnobs of {visible(str(program))}:\n{knobs}")
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
@WIDE
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
    wide: bool,
    distributed: bool,
) -> None:
    """Runs a program: what is not in the cache, then its metrics and claims."""
    from cai_jax.commands import session
    from cai_jax.parallel import multihost
    from cai_jax.runs.folder import RunFolder
    from cai_jax.stages import registry

    if distributed:
        session.prepare_jax(out)
        multihost.join()
    text = program.read_bytes()
    planned = _planned(program, text, sets, seed, limit)
    options = session.meant(planned, registry(), session.Options(out, only, force))
    about = {"seed": planned.settings["seed"], "overrides": list(sets), "limit": limit, "only": only}
    folder = RunFolder.create(out, program, text, session.plan_json(planned, registry()), about)
    with _working() as (reporter, interrupts):
        try:
            shown = session.run(planned, folder, options, registry(), reporter, interrupts, _statistics())
        except BaseException as error:
            if hasattr(error, "shown"):
                reporter.close()
                _summed_up(error.shown, as_json, wide)
            raise
    _summed_up(shown, as_json, wide)
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
    """Answers prompts through a program's flow, and shows what was flagged and revised.

    Exit code 1 if a reply could not be judged, whatever became of it.
    """
    from cai_jax.commands import session
    from cai_jax.runs import guarding
    from cai_jax.stages import registry

    planned = _planned(program, program.read_bytes(), sets, None, None)
    chosen = guarding.flow_of(planned, flow)
    texts = _prompts(prompts)
    session.prepare_jax(out)
    with _working() as (reporter, interrupts):
        told = guarding.guard(planned, chosen, texts, out, registry(), reporter, interrupts)
    if as_json:
        _print_json(told)
    else:
        say("\n\n".join(guarding.text(one) for one in told))
    if any(one["could_not_judge"] for one in told):
        sys.exit(EXPECT_FAILED)


@cli.command()
@OUT
@JSON
@WIDE
@click.option("--nodes", is_flag=True, help="Lists the nodes in the cache instead of the runs.")
@click.option("--verify", is_flag=True, help="Reads every file in the cache, and lists the nodes with damaged ones.")
def ls(out: Path, as_json: bool, wide: bool, nodes: bool, verify: bool) -> None:
    """Lists the runs, the newest first."""
    from cai_jax.report import browse

    found, text = browse.runs, browse.runs_text
    if nodes:
        found, text = browse.nodes, browse.nodes_text
    if verify:
        found, text = browse.damaged, browse.damaged_text
    listed = found(out)
    if as_json:
        _print_json(listed)
    else:
        say(text(listed, _columns(wide)))
    if verify and listed:
        sys.exit(STAGE_FAILED)


@cli.command()
@click.argument("node")
@OUT
@JSON
@WIDE
@RUN
@click.option("--rows", type=click.IntRange(0), default=3, show_default=True, help="How many rows to print.")
def show(node: str, out: Path, as_json: bool, wide: bool, run_name: str, rows: int) -> None:
    """Shows a node, by what a run calls it or by its key: what made it, what came of it, its first rows."""
    from cai_jax.report import browse

    found = browse.node(*browse.find(out, node, run_name), rows)
    if as_json:
        _print_json(found)
    else:
        say(browse.node_text(found, _columns(wide)))


@cli.command()
@click.argument("node")
@click.argument("folder", type=click.Path(path_type=Path))
@OUT
@RUN
def export(node: str, folder: Path, out: Path, run_name: str) -> None:
    """Writes a model, called as for `show`, into a folder that transformers opens; merges its adapter."""
    from cai_jax.commands import export as exporting
    from cai_jax.report import browse

    exporting.export(browse.find(out, node, run_name)[0], folder)
    say(visible(f"wrote {folder}"))


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


def _planned(program: Path, text: bytes, sets: Sequence[str], seed: int | None, limit: int | None) -> Plan:
    """The program's plan; ends the command if the program is wrong."""
    from cai_jax.runs import programs
    from cai_jax.stages import registry

    checked = programs.checked(program, text, sets, registry())
    _tell(_rendered(checked.diagnostics, sys.stderr), sys.stderr)
    if not checked.ok:
        sys.exit(PROGRAM_WRONG)
    return programs.planned(checked, registry(), seed, limit)


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

    def tell() -> None:
        with suppress(OSError, ValueError):
            os.write(sys.stderr.fileno(), said)

    return Interrupts(tell)


def _statistics() -> ModuleType:
    from cai_jax.evals import intervals

    return intervals


def _rendered(found: Sequence[Diagnostic], stream: TextIO) -> str:
    from cai_jax.lang.diagnostics import render

    return render(found, colour=stream.isatty() and not os.environ.get("NO_COLOR"))


def _tell(text: str, stream: TextIO | None = None) -> None:
    """Prints a text that may be empty."""
    if text:
        say(text, stream)


def _columns(wide: bool) -> int | None:
    """How wide tables may be: as the terminal, unless they go elsewhere or `-o wide` is given."""
    return None if wide else width(sys.stdout)


def _summed_up(shown: Shown, as_json: bool, wide: bool) -> None:
    """What a run has come to, also where it went no further; of several processes the first tells."""
    from cai_jax.commands.session import summary
    from cai_jax.parallel import multihost

    if not multihost.first():
        return
    if as_json:
        _print_json(shown.as_json())
    else:
        say(summary(shown, _columns(wide)))


def _print_json(value: Any) -> None:
    ascii_only = "utf" not in (sys.stdout.encoding or "utf-8").lower()
    say(json_escaped(json.dumps(value, ensure_ascii=ascii_only, indent=1)))


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
