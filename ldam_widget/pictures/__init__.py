"""From tensors to pictures: tiles, files, figures."""
