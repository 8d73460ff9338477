"""From events to feature stores: decoding, and the handler that a consumer supervises."""
