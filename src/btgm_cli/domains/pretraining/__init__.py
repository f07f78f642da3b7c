"""What every training of a base model shares: the loop, gates, cards."""
