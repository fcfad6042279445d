"""Generations, charges, catalogue and price book in the operator's admin."""

from generation.admin import batches, catalogue, charges, generations, images_elsewhere, jobs, price_book

__all__ = ["batches", "catalogue", "charges", "generations", "images_elsewhere", "jobs", "price_book"]
