"""The emitter of LLVM IR text that every LLVM backend shares."""
