"""Three Sparks without a Spark: virtual machines in which everything is real except the GPU."""
