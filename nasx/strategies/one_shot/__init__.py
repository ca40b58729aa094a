"""One-shot methods: a supernet is trained once, and a search scores architectures by its weights."""
