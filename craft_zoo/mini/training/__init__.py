"""Training of craft-mini: texts, image tower, teacher, distillation and evaluation."""
