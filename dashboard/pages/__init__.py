"""One page a file: reads its filters, asks queries, draws."""
