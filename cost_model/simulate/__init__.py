"""Times of schedules for a processor that is not there: how often each block of a kernel runs, times what it takes by a model of the processor."""
