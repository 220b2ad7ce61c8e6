"""Where readings come from: NVML, or a simulation for demos."""
