"""The two-tower model as a sequential recommender: which item does a user take next?"""
