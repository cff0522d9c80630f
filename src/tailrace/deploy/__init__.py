"""What AWS Lambda is given: the function's package, and the files that deploy it."""
