"""Mails that are sent once: written down with what they tell, sent afterwards, tried again until they are out."""
