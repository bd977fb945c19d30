"""An environment as a vector."""
