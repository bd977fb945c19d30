"""What is simulated, and what was computed for it."""
