"""The retraining job: the only place of scikit-learn and skl2onnx; the running governor never imports it."""
