"""The one program `molmo`."""
