"""The methods: each proposes a noise scale for an input."""
