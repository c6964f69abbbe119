"""Images that are drawn on demand, in processes that load no TensorFlow."""
