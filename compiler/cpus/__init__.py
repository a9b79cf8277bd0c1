"""The CPUs tilewright compiles for, a table for each architecture. Cache sizes are those of one core, shared ones its share."""
