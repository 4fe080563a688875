"""The language: from a program's text to a checked plan. Imports no JAX and knows no stage by name.

    checked = checker.check(text_or_bytes, path, registry, overrides={"kl": "0.1"})
    print(diagnostics.render(checked.diagnostics, colour=False), file=sys.stderr)
    if checked.ok:
        plan_ = plan.lower(checked, fingerprint)      # fingerprint("/abs/path" or "builtin:tiny") -> str

- `checker.check` -> `Checked(ok, diagnostics, knobs, arms, program)`; every finding is a `diagnostics.Diagnostic` with
  `as_json()`. Settings of `--set` that do not fit are findings like any other.
- `plan.lower` -> `Plan(nodes, names, expects, measures, flows, knobs, settings)`; nodes in topological order with keys;
  `Plan.flows` holds what `guard` runs.
- `diagnostics.explain(code)` -> text or None; `diagnostics.catalogue()` -> every code.
- `formatter.format_text(text_or_bytes, path)` -> `Formatted(text, diagnostics)`.
- `templates.new(template, name)` -> {relative path: text}; `templates.names()`.
- `reference.update(text, registry)` -> grammar/README.md with its stage section made again.
- `assets.find("programs")` -> folder, from a wheel and from a clone.
"""
