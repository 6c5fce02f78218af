"""rtpd: real-time policy distillation. One run trains a teacher and its tiny students at once."""
