"""Matrix products, factorisations and streamed least squares."""
