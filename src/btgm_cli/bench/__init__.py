"""`make bench`: what a step costs, and how tuned models fare beside other samplers."""
