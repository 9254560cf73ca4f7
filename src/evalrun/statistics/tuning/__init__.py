"""Stages after pretraining: mid-training, instruction tuning, preferences, reinforcement.

stage_rows    which rows are of which stage, and which enter a fit or a curve
"""
