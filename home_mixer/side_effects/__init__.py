"""What happens after the response: remembering and reporting what was served."""
