"""The REST client and the gpuforge command line."""
