"""Stages after pretraining: mid-training, instruction tuning, preferences, reinforcement.

stage_rows       which rows are of which stage, and which enter a fit or a curve
what_tuning_did  each stage against the last checkpoint of the stage before, task by task
tuning_findings  both of these, for a study
start_grid       the same tuning from several checkpoints of pretraining
"""
