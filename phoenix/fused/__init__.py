"""The ranker's layers over candidates in one kernel, where the processor multiplies bfloat16."""
