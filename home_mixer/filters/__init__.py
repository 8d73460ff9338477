"""What may remove a candidate. One rule, one file; the order is the pipeline's."""
