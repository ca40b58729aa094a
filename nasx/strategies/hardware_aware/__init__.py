"""Methods that learn an architecture and what it costs on a device together, by gradients in a supernet."""
