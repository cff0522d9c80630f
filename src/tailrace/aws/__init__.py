"""Talking to AWS: who asks (`session`), what (`service`), signed requests (`http`), what went wrong (`errors`)."""
