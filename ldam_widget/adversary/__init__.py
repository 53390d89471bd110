"""Algorithm 2: a discriminator trained against the sampler itself."""
