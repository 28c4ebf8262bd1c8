"""What a training tells besides its model: `run.json`, its steps, and a run on an MLflow server when the spec asks for one."""
