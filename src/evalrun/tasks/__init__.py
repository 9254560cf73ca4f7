"""Tasks: from the files of conf/task and lm-eval's own to tasks whose every row is checked before a model is loaded."""
