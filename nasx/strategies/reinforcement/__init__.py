"""Methods that learn a policy, which draws architectures, from rewards."""
