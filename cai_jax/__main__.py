"""`python -m cai_jax` is `cai-jax`."""

from cai_jax.cli import main

if __name__ == "__main__":
    main()
