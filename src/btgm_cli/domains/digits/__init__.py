"""Images of handwritten digits: MNIST, a GAN, a classifier and what it can favour."""
