"""Methods that learn an architecture by gradients, in a supernet whose operations are weighted sums."""
