"""The control plane: the daemon that keeps the truth of a GPU fleet."""
