"""Keras 3's saved models, rebuilt in tf_keras, layer by layer, and proven equal.

`program` says what such a model computes, `reader` writes it down in a child process where Keras 3 runs, `layers`
translates one layer, `rebuild` puts the model together.
"""
