"""PPO's iterations: sample, score, prepare, update (METHOD.md §4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from cai_jax.data import formats
from cai_jax.learn import kl, optim, ppo, rollout
from cai_jax.models.checkpoint import Model
from cai_jax.parallel.step import PREPARE, ROWWISE
from cai_jax.stages.parts.draws import draw_of
from cai_jax.stages.parts.models import model_of
from cai_jax.stages.parts.rewarding import Scorer
from cai_jax.stages.parts.training import compiled, row_length, wide
from cai_jax.stages.parts.writing import Writer, fitting


@dataclass(frozen=True)
class Drawn:
    """Replies of one rollout: rows (prompt rows), token ids of prompts and replies, texts, and which ended."""

    rows: Sequence[dict]
    prompts: Sequence[list[int]]
    replies: Sequence[list[int]]
    texts: Sequence[str]
    ended: Sequence[bool]


class Loop:
    """One iteration after another: sample, score, prepare, update."""

    def __init__(self, ctx) -> None:
        self.ctx, self.params, self.draw = ctx, ctx.params, draw_of(ctx)
        self.model: Model = model_of(ctx.inputs["model"])
        self.writer = Writer.of(ctx, self.model, formats.REPLY_STOPS)
        self.rows = fitting(ctx, ctx.inputs["on"].rows(), self._prompt)
        longest = max(len(self._prompt(row)) for row in self.rows)
        self.writer = replace(self.writer, longest=longest)
        self.length = row_length(longest + self.params["max_new"], self.model.config.max_position)
        self.scorer = Scorer(ctx.inputs["reward"])
        # Without rows an artefact is false, so that its absence has to be asked for.
        self.watch = Scorer(ctx.inputs["watch"]) if ctx.inputs.get("watch") is not None else None
        self.micro = ctx.node.schedule.get("micro") or self.params["minibatch"] or self.params["batch"]

        settings, config = self._settings(), self.model.config
        self.reference = compiled(ctx, partial(rollout.make_logprobs, config, settings), ROWWISE)
        self.prepare = compiled(ctx, partial(rollout.make_prepare, config, settings), PREPARE)
        self.update = compiled(ctx, partial(ppo.make_update, config, settings))
        start = wide(self.model.params)
        self.reference_params = self.reference.place(wide(self.model.params))
        self.state = self.update.place(ppo.PPOState.create(settings, start, self._critic(start)))

    def _settings(self):
        p = self.params
        updates = p["steps"] * p["passes"] * (p["batch"] // (p["minibatch"] or p["batch"]))

        def adam(learning_rate: float):
            return optim.Optim(learning_rate, b2=0.999, eps=1e-5, schedule=p["schedule"], steps=updates)

        return ppo.PPO(
            policy_optim=adam(p["learning_rate"]),
            critic_optim=adam(p["critic_rate"]),
            temperature=p["temperature"] or 1.0,
            kl=kl.KL(p["kl"], p["target"], float(p["horizon"])),
            clip=p["clip"],
            value_clip=p["value_clip"],
            value_coef=p["value_coef"],
            dual_clip=p["dual_clip"],
            gamma=p["gamma"],
            lam=p["lam"],
            missing_eos_penalty=p["missing_eos"],
            scale_rewards=p["scale"],
            reward_clip=p["reward_clip"],
            whiten_rewards=p["whiten"],
            critic_warmup=p["critic_warmup"],
            dtype=self.model.params["embed"].dtype.name,
        )

    def _critic(self, start):
        """The critic's first weights; a preference model of another shape or vocabulary cannot lend its own."""
        if self.params["critic"] == "reward" and len(self.scorer.models) == 1:
            scorer = self.scorer.models[0][1]
            same = scorer.config == self.model.config
            if same and scorer.tokenizer.same_as(self.model.tokenizer):
                return {"decoder": wide(scorer.params), "head": wide(scorer.head)}
        return ppo.critic_from_policy(start, self.model.config)

    def _prompt(self, row: Mapping[str, Any]) -> list[int] | None:
        return self.writer.fit(formats.ask(row["turns"]))

    def roll(self, state, number: int) -> tuple[Any, dict[str, np.ndarray], dict[str, Any]]:
        """The state with its controller and statistics brought up to date, the rollout ready for updates, metrics."""
        drawn = self._draw(state, number)
        rollout = self._arrays(drawn)
        scored = [(row["turns"], text) for row, text in zip(drawn.rows, drawn.texts, strict=True)]
        rollout["scores"] = self._split(self.scorer.scores(scored).astype(np.float32))
        rollout["reference"] = np.asarray(
            self.reference(self.reference_params, {name: rollout[name] for name in ("tokens", "mask")})
        )
        state, prepared, metrics = self.prepare(state, rollout)
        metrics = dict(metrics)
        if self.watch is not None:
            metrics["watch"] = float(self.watch.scores(scored).mean())
        return state, {name: np.asarray(x) for name, x in prepared.items()}, metrics

    def improve(self, state, prepared: Mapping[str, np.ndarray], number: int) -> tuple[Any, dict[str, Any]]:
        """The state after all updates on one rollout, and the metrics of the last."""
        size = self.params["minibatch"] or self.params["batch"]
        for turn in range(self.params["passes"]):
            seed = (self.ctx.seed, self.params["seed"], number, turn)
            for minibatch in ppo.minibatches(prepared, seed=seed, size=size, micro=min(self.micro, size)):
                state, updated = self.update(state, minibatch)
        return state, {name: updated[name] for name in updated if name not in ("entropy", "tokens")}

    def _draw(self, state, number: int) -> Drawn:
        """A rollout of the policy as it is now."""
        rows = list(self._prompts(number))
        prompts = [self._prompt(row) for row in rows]
        keys = [self.draw.key(f"rollout {number}", row, place) for place, row in enumerate(rows)]
        writer = replace(self.writer, model=replace(self.model, params=state.policy.params))
        texts = writer.write(prompts, keys)
        return Drawn(rows, prompts, [t.ids for t in texts], [t.text for t in texts], [t.ended for t in texts])

    def _prompts(self, number: int) -> Iterator[dict]:
        """The prompts of a rollout: the next ones of an endless sequence of permutations."""
        count, size = len(self.rows), self.params["batch"]
        for place in range(number * size, (number + 1) * size):
            seed = (self.ctx.seed, self.params["seed"], place // count)
            yield self.rows[np.random.default_rng(seed).permutation(count)[place % count]]

    def _arrays(self, drawn: Drawn) -> dict[str, np.ndarray]:
        count = len(drawn.rows)
        tokens = np.full((count, self.length), self.model.tokenizer.pad_id or 0, np.int32)
        mask = np.zeros((count, self.length), bool)
        for index, (prompt, reply) in enumerate(zip(drawn.prompts, drawn.replies, strict=True)):
            tokens[index, : len(prompt) + len(reply)] = prompt + reply
            mask[index, len(prompt) : len(prompt) + len(reply)] = True
        return {
            "tokens": self._split(tokens),
            "mask": self._split(mask),
            "ended": self._split(np.array(drawn.ended)),
        }

    def _split(self, rows: np.ndarray) -> np.ndarray:
        """[N, …] as [micro-batches, rows, …]."""
        return rows.reshape(-1, min(self.micro, len(rows)), *rows.shape[1:])


def diagnoses(last: Mapping[str, float], params: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a user should be told about the state in which training ended."""
    notes = []
    if last.get("kl", 0) > 20:
        notes.append(("divergence", f"the policy went {last['kl']:.0f} nats per reply away: raise kl="))
    if last.get("eos_rate", 1) < 0.8:
        notes.append(("unended", f"only {last['eos_rate']:.0%} of the replies end by themselves: raise max_new="))
    if "watch" in last and last["score"] - last["watch"] > 2:
        notes.append((
            "over-optimised",
            f"the score rose to {last['score']:.1f}, but the preference model that watches says "
            f"{last['watch']:.1f}: the policy exploits its preference model",
        ))  # fmt: skip
    return notes
