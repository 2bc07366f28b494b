"""An int16 array with a table beside it."""
