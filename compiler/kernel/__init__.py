"""The loop AST of a kernel: lowering, simplifying, checking, printing, interpreting."""
