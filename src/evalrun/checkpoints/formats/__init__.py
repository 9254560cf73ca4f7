"""What trainers write in formats of their own, read in place into a transformers model.

torch_pickle   files of torch.save: places of tensors, plain values; nothing of a pickle is run
dcp_metadata   the table of torch.distributed.checkpoint
raw, found     what lies in a folder or file
format_rules   the files of conf/format
renaming, arrange   from a trainer's tensors to those of a model
raw_checkpoint   a checkpoint with its rules and its config
tensor_reading, raw_model   its numbers, and the model
"""
