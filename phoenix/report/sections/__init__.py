"""The chapters of a report, one module each: from data to a `Section`."""
