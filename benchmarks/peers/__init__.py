"""Other programs that fit and run potentials, each in an environment of its own."""
