"""Analysis of samples: modes, and units ranked by how much models differ."""
