"""How far the pictures of a sampler can be believed."""
