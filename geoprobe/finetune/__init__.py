"""Fine-tuning: the country of an image, learned by a whole model with a linear head."""
