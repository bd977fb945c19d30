"""Where JAX computes: programs are arranged in another way on an accelerator than on a CPU."""

import os

import jax


def on_cpu() -> bool:
    """Whether programs that are made now run on a CPU."""
    chosen = jax.config.jax_default_device  # type: ignore[attr-defined]  # a device, a platform's name, or None
    return (jax.default_backend() if chosen is None else getattr(chosen, "platform", chosen)) == "cpu"


def available_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
