"""The outside world: whom the control plane speaks to over the network."""
