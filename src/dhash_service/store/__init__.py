"""The store: where facts are kept. `store.Store.open` is the way in.

Nothing is imported here: a rollout asks the commands about the schema again and again, and those need neither
NumPy nor a decoder of pictures.
"""
