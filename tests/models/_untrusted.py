"""Commands on a program whose model's folder brings code, all in this process; prints their exit codes as JSON."""

import json
import sys

from cai_jax import cli


def code(words):
    try:
        cli.main(words)
    except SystemExit as ended:
        return ended.code


def main(program, guard, out):
    commands = [
        ["check", program],
        ["plan", program, "--out", out, "--prompts", "1"],
        ["run", program, "--out", out],
        ["guard", guard, "--out", out, "--prompt", "Hello"],
    ]
    print("CODES", json.dumps([code(command) for command in commands]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
