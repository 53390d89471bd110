"""Real images in a network: layers, backward views, differences to another model; no threads and no Jupyter."""
