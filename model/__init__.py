"""The Molmo network and everything that defines its input and output."""
