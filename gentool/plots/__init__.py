"""Pictures: grids of images, scatters of points, latent planes, fields; pure functions from tensors to uint8 pixels."""
