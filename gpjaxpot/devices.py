"""Where JAX computes: programs are arranged in another way on an accelerator than on a CPU."""

import jax


def on_cpu() -> bool:
    """Whether programs that are made now run on a CPU."""
    chosen = jax.config.jax_default_device  # type: ignore[attr-defined]  # a device, a platform's name, or None
    return (jax.default_backend() if chosen is None else getattr(chosen, "platform", chosen)) == "cpu"
