"""Built-in generators: each module implements `core.GenerativeModel`."""
