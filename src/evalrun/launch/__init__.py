"""Running the jobs of a sweep: here, in processes, on Ray, on SLURM, with one contract for all.

    launcher: hands jobs out, notices the lost -> worker: composes, runs -> Done -> outcome: asks the store

A job's results are filed by the job itself, in the journal and then in MLflow; a launcher brings home sentences only,
and what counts as done is asked of the store. `base` is what Hydra sees; `pool`, `on_ray` and `on_slurm` are where
workers are found; `worker` is what runs there.
"""
