"""The simulated tabletop: scenes, camera and renderers with exact truth."""
