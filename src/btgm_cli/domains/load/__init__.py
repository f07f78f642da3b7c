"""Weeks of electricity load in kW: meter readings, a VAE, and what can be favoured."""
