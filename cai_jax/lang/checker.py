"""Check a whole program: its statements in order, once for every arm of its sweeps."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from cai_jax.lang import assets, ast, claims, knobs, settings, units
from cai_jax.lang.claims import Side
from cai_jax.lang.constitutions import Library
from cai_jax.lang.diagnostics import Diagnostic, Diagnostics, Label
from cai_jax.lang.evaluate import Elaborator
from cai_jax.lang.parser import decode, parse
from cai_jax.lang.scope import World, describe, has_scheme
from cai_jax.lang.signature import Kind, Signature
from cai_jax.lang.source import Span
from cai_jax.lang.user_stages import UserStages
from cai_jax.lang.values import CONSTITUTION, FAILED, Artefact, Failed, Flow, Scalar, Value

_PRODUCTS = (Kind.MODEL, Kind.REWARD_MODEL)
_IN_VAIN = ("E241", "E243", "E246")  # what changes nothing, says nothing, or compares a thing with itself


class Claim(NamedTuple):
    """A checked `expect`; `text` is the comparison as written, on one line."""

    text: str
    left: Side
    op: str
    right: Side
    level: float | None
    why: str
    span: Span


@dataclass(eq=False, repr=False)
class Arm:
    """The program under one choice of its swept knobs.

    Attributes:
      values: the swept knobs. run: the settings of `run (…)`, filled in.
      names: what each name is bound to, where that is an artefact or a flow; claims: every sound `expect`.
    """

    values: Mapping[str, float | str | bool]
    run: Mapping[str, Any]
    names: dict[str, Artefact | Flow] = field(default_factory=dict)
    claims: list[Claim] = field(default_factory=list)


@dataclass(frozen=True, eq=False, repr=False)
class Checked:
    """The result of checking a program.

    Attributes:
      program: as parsed.
      diagnostics: all findings, in the order of the text.
      knobs: every `let`, with its value in effect.
      arms: one per combination of swept values; one if nothing is swept.
      user_stages: the stages of the user's own, in the order of their `use stage`.
    """

    program: ast.Program
    diagnostics: tuple[Diagnostic, ...]
    knobs: tuple[knobs.Knob, ...]
    arms: tuple[Arm, ...]
    resolve: Any = field(repr=False)
    user_stages: tuple[Signature, ...] = ()

    @property
    def ok(self) -> bool:
        """True if the program may run: there are no findings but warnings."""
        return all(diagnostic.warning for diagnostic in self.diagnostics)


def check(
    text: str | bytes,
    path: str | Path,
    registry: Mapping[str, Any],
    *,
    overrides: Mapping[str, str] | None = None,
    root: Path | None = None,
) -> Checked:
    """Check a program.

    Args:
      text: the program.
      path: of the program: messages use it, and its files are looked for in the same folder.
      registry: stage name -> something with a `SIGNATURE` (a stage's module), or a Signature itself.
      overrides: knob -> text of its value, from `--set`.
      root: the folder with the built-in constitutions/; None: it is searched for.
    """
    report, shown = Diagnostics(), str(path)
    source = decode(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"), shown, report)
    program = parse(source, report)
    folder = Path(os.path.realpath(path)).parent
    signatures = {name: getattr(stage, "SIGNATURE", stage) for name, stage in registry.items()}
    checker = _Checker(program, report, signatures, folder, root or assets.root())
    arms = checker.arms(overrides or {})
    known = tuple(knob for knob, _ in checker.knobs.values())
    own = tuple(found for found in checker.user_stages.values() if found is not None)
    return Checked(program, tuple(report.in_order()), known, arms, checker.world.resolve, own)


class _Checker:
    def __init__(
        self,
        program: ast.Program,
        report: Diagnostics,
        signatures: Mapping[str, Signature],
        folder: Path,
        root: Path,
    ) -> None:
        self.program = program
        self.report = report
        self.folder = folder
        self.world = World(signatures, report, self.resolve)
        self.library = Library(folder, root, signatures.get(CONSTITUTION), report)
        self.knobs: dict[str, tuple[knobs.Knob, Scalar]] = {}
        self.constitutions: dict[Span, Artefact | Failed] = {}
        self.user_stages: dict[Span, Signature | None] = {}

    def resolve(self, path: str) -> str:
        """An absolute path, also after `tfds:`; names with another scheme stay as they are."""
        if path.startswith("tfds:"):
            return f"tfds:{self.resolve(path.removeprefix('tfds:'))}"
        return path if has_scheme(path) else os.path.realpath(self.folder / os.path.expanduser(path))

    def arms(self, overrides: Mapping[str, str]) -> tuple[Arm, ...]:
        self.knobs = knobs.read(self.program, overrides, self.report)
        if not self.program.statements and not self.report:
            start = Span(self.program.source, 0, 0)
            hint = "`cai-jax new` writes a program to start from"
            self.report.report("E005", "the program is empty", start, hint=hint)
        self._names_once()
        self._constitutions()
        self._user_stages()
        choices = knobs.arms(self.program, self.knobs, overrides, self.report)
        before, arms, met = len(self.report), [], []
        for values in choices:
            self.report.met.clear()
            arms.append(self._arm(values))
            met.append(set(self.report.met))
        self._say_which_arm(before, arms, met)
        if any(arm.run != arms[0].run for arm in arms):
            at = next(statement.span for statement in self.program.statements if isinstance(statement, ast.Run))
            hint = "sweep an option of the stages, such as `seed=`"
            self.report.report("E261", "the settings of a run cannot be swept", at, "differ between arms", hint=hint)
        self._unused(arms)
        return tuple(arms)

    def _say_which_arm(self, before: int, arms: list[Arm], met: list[set[tuple[str, Span | None]]]) -> None:
        """Name the first arm that has a finding, if not all do; drop findings of no effect in some arms only."""
        spared: set[int] = set()
        for index in range(before, len(self.report)):
            found = self.report[index]
            having = [arm for arm, here in zip(arms, met, strict=True) if (found.code, found.span) in here]
            if len(having) < len(arms):
                message = f"{found.message} (with {knobs.label(having[0].values)})"
                self.report[index] = replace(found, message=message)
                spared.add(index)
        kept = [found for i, found in enumerate(self.report) if not (i in spared and found.code in _IN_VAIN)]
        self.report[:] = kept

    def _constitutions(self) -> None:
        for statement in self.program.statements:
            if isinstance(statement, ast.Use):
                self.constitutions[statement.span] = self.library.use(statement)
            elif isinstance(statement, ast.Constitution):
                self.constitutions[statement.span] = self.library.constitution(statement)

    def _user_stages(self) -> None:
        """Read the stages of the user's own, which are then called like any other."""
        known = UserStages(self.folder, frozenset(self.world.signatures), self.report)
        used = [statement for statement in self.program.statements if isinstance(statement, ast.UseStage)]
        self.user_stages = {statement.span: known.use(statement) for statement in used}
        own = {found.name: found for found in self.user_stages.values() if found is not None}
        self.world.signatures = {**self.world.signatures, **own}

    def _names_once(self) -> None:
        first: dict[str, Span] = {}
        for statement in self.program.statements:
            name = getattr(statement, "name", None)
            if name is None or isinstance(statement, ast.Sweep):
                continue
            if name.id in knobs.TRUTH:
                self.report.report(
                    "E111", f"`{name.id}` is a word of the language", name.span, hint="choose another name"
                )
            elif name.id in first:
                label = Label(first[name.id], "first here")
                message = f"`{name.id}` is bound twice"
                self.report.report("E201", message, name.span, "again", label, hint="choose another name")
            first.setdefault(name.id, name.span)

    def _arm(self, values: Mapping[str, Scalar]) -> Arm:
        in_effect = {name: values.get(name, value) for name, (_, value) in self.knobs.items()}
        places = {name: knob.span for name, (knob, _) in self.knobs.items()}
        arm = Arm({name: value.single for name, value in values.items()}, settings.defaults())
        arm.run = {**arm.run, **self._run(Elaborator(self.world, arm.run, dict(in_effect), places))}
        scope = Elaborator(self.world, arm.run, places=places)
        names = [s for s in self.program.statements if hasattr(s, "name") and not isinstance(s, ast.Sweep)]
        later = {statement.name.id: statement.name.span for statement in reversed(names)}
        scope.later = later
        for statement in self.program.statements:
            self._statement(statement, scope, in_effect, arm)
            if name := getattr(statement, "name", None):
                later.pop(name.id, None)
        return arm

    def _run(self, scope: Elaborator) -> dict[str, Any]:
        found = [statement for statement in self.program.statements if isinstance(statement, ast.Run)]
        for again in found[1:]:
            label = Label(found[0].span, "first here")
            self.report.report("E254", "a program has one `run`", again.span, "again", label)
        given = [scope.checked_settings(each.settings, settings.RUN, "run") for each in found]
        return given[0] if given else {}

    def _statement(
        self, statement: ast.Statement, scope: Elaborator, in_effect: Mapping[str, Scalar], arm: Arm
    ) -> None:
        value: Value = FAILED
        match statement:
            case ast.Broken():
                for bound in statement.bound:
                    scope.values.setdefault(bound, FAILED)
                self.world.used.update(statement.used)
                return
            case ast.Expect():
                self._expect(statement, scope, arm)
                return
            case ast.Let():
                scope.mark_used(statement.value)
                value = in_effect.get(statement.name.id, FAILED)
            case ast.Use() | ast.Constitution():
                value = self.constitutions[statement.span]
            case ast.UseStage():
                if self.user_stages[statement.span] is not None:
                    return  # it is called by its name, and bound to nothing
            case ast.Bind():
                value = self._bind(statement, scope)
            case _:
                return
        name = statement.name
        if isinstance(scope.values.get(name.id, FAILED), Failed):
            if isinstance(value, Artefact):
                value = self.world.intern(value)
            scope.values[name.id] = value
            scope.places[name.id] = name.span
            if isinstance(value, Artefact | Flow):
                arm.names[name.id] = value

    def _bind(self, statement: ast.Bind, scope: Elaborator) -> Value:
        if any(isinstance(part, ast.Hole) for part in ast.walk(statement.value)):
            return scope.flow(statement.name.id, statement.value)
        value = scope.evaluate(statement.value)
        if isinstance(value, Scalar):
            message = f"`{statement.name.id}` would be {describe(value)}, and only artefacts are bound with `=`"
            hint = f"for a knob write  let {statement.name.id} = …"
            self.report.report("E260", message, statement.value.span, "a plain value", hint=hint)
            return FAILED
        return value

    # -- expectations

    def _expect(self, statement: ast.Expect, scope: Elaborator, arm: Arm) -> None:
        left, right = self._side(statement.left, scope), self._side(statement.right, scope)
        level = self._level(statement.level)
        if left is None or right is None or isinstance(level, Failed):
            return
        span = statement.left.span.to(statement.right.span)
        if left.metric is None and right.metric is None:
            self.report.report("E243", "both sides of this `expect` are plain numbers", span, "nothing is measured")
            return
        if not claims.same_data(left.metric, right.metric):
            message = "the two sides are measured on different data, so their difference means nothing"
            other = Label(statement.right.span, "measured on other data than the left side")
            self.report.report("E244", message, statement.left.span, "", other, hint="measure both on the same split")
            return
        if vain := claims.in_vain(left, statement.op, right):
            self.report.report("E243", vain, span, "tells nothing", hint="claim what a run could show to be wrong")
        why = statement.why.value if statement.why else ""
        arm.claims.append(Claim(span.on_one_line, left, statement.op, right, level, why, statement.span))

    def _side(self, expr: ast.Expr, scope: Elaborator) -> Side | None:
        terms, signs = ((expr,), ()) if not isinstance(expr, ast.Sum) else (expr.terms, expr.signs)
        metric, numbers, sound = None, [], True
        for sign, term in zip(("+", *signs), terms, strict=True):
            value = scope.evaluate(term)
            if isinstance(value, Failed):
                sound = False
            elif isinstance(value, Scalar) and value.is_number and value.dimension not in ("", "fraction"):
                sound = False
                message, hint = f"`{value.suffix}` does not fit what a metric measures", "write a bare number, or `%`"
                self.report.report("E238", message, term.span, "", hint=hint)
            elif isinstance(value, Scalar) and value.is_number:
                numbers.append((sign, value))
            elif isinstance(value, Artefact) and value.type.kind is Kind.METRIC and sign == "+" and metric is None:
                metric = value
            else:
                sound = False
                self._not_a_side(term, value)
        constant = units.added([Scalar(0.0), *(n for _, n in numbers)], [s for s, _ in numbers], expr.span, self.report)
        if not sound or isinstance(constant, Failed):
            return None
        return Side(metric, constant.number, scope.is_tuned(expr) and bool(numbers))

    def _not_a_side(self, term: ast.Expr, value: Value) -> None:
        if isinstance(value, Artefact) and value.type.kind is Kind.METRIC:
            message, hint = (
                "a side of `expect` is one metric, plus or minus a number",
                "put the other metric on the other side",
            )
        else:
            message, hint = (
                f"an `expect` compares metrics and numbers, not {describe(value)}",
                "measure it with a metric",
            )
        self.report.report("E242", message, term.span, f"is {describe(value)}", hint=hint)

    def _level(self, level: ast.Number | None) -> float | None | Failed:
        if level is None:
            return None
        value = units.scalar(level, self.report)
        if isinstance(value, Failed):
            return FAILED
        if value.dimension not in ("", "fraction") or not 0.5 <= value.number < 1:
            hint = f"write  at {level.text}%" if 50 <= level.value < 100 and not level.unit else "write  at 95%"
            self.report.report("E245", "a level lies between 50% and 100%", level.span, "not a level", hint=hint)
            return FAILED
        return value.number

    # -- what nobody uses

    def _unused(self, arms: list[Arm]) -> None:
        last = next((s for s in reversed(self.program.statements) if isinstance(s, ast.Bind)), None)
        failed = {name for s in self.program.statements if isinstance(s, ast.Broken) for name in s.bound}
        known = self.world.used | failed | set(knobs.TRUTH)
        # Where a bracket or a sign is missing, a name may be the end of a longer word.
        broken = "".join(f"{word} " for s in self.program.statements if isinstance(s, ast.Broken) for word in s.used)
        if all(isinstance(statement, ast.Constitution) for statement in self.program.statements):
            return  # a file that others `use`
        for statement in self.program.statements:
            name = getattr(statement, "name", None)
            if name is None or isinstance(statement, ast.Sweep) or name.id in known:
                continue
            if f"{name.id} " in broken:
                continue
            value = arms[0].names.get(name.id)
            found = isinstance(statement, ast.Let) and name.id in self.knobs
            found = found or isinstance(statement, ast.UseStage) and self.user_stages[statement.span] is not None
            wrong = value is None and not found
            made = statement is last and not isinstance(value, Flow)
            product = isinstance(statement, ast.Bind) and (made or _is_product(value))
            if not wrong and not product:
                what = {ast.Let: "knob", ast.UseStage: "stage"}.get(type(statement), "name")
                called = f"call it on prompts, as in  prompts |> {name.id}(), or remove it"
                hint = called if isinstance(value, Flow) else "use it or remove it"
                self.report.report("E207", f"nothing uses the {what} `{name.id}`", name.span, "unused", hint=hint)


def _is_product(value: Artefact | Flow | None) -> bool:
    """True if a value is useful though nothing in the program uses it: measured, trained, or a flow of replies.

    A flow that measures or trains does so only where it is called.
    """
    if isinstance(value, Flow):
        return value.result.type.kind not in (*_PRODUCTS, Kind.METRIC)
    if isinstance(value, Artefact) and value.type.kind in _PRODUCTS:
        return value.signature is not None and value.signature.group == "stage"
    return isinstance(value, Artefact) and value.type.kind is Kind.METRIC
