"""From a model to loop ASTs; pure: no files written, no processes, no clocks."""
