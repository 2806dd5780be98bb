"""Trains one network on many machines.

Ray starts a process on each machine, and JAX connects the processes. Each process reads its part of every batch.

You can start the same training without Ray, with one command on each machine. On the first machine:

    keras-resnet train ResNet20 --data digits --out runs/many --backend jax \\
        --processes 2 --process 0 --coordinator HOST:PORT

On the second machine use `--process 1`. With Slurm, JAX finds the number and the address of the processes itself:
`srun -n 2 keras-resnet train ... --backend jax --processes 0`. If a training is interrupted, start it again: it
continues from its last checkpoint.

Run:     pip install 'ray[train]'; python examples/many_machines.py
         This uses two processes on your machine and no GPU
Time:    three minutes on two cores, with Ray 2.60
Result:  prints the accuracy on held-out digits, 97 % or more; the run directory is runs/many
"""

from pathlib import Path

OUT = Path("runs/many").absolute()  # all machines must be able to read and write this directory
WORKERS = 2


def train_in_each_process(settings: dict[str, str]) -> None:
    """Ray calls this function in every process, after JAX has connected the processes."""
    import dataclasses  # noqa: PLC0415

    # Import Keras here and not at the top: it must be imported after Ray has set the variables of the process.
    from keras_resnet.training import RECIPES, run  # noqa: PLC0415

    recipe = dataclasses.replace(RECIPES["one_cycle"], epochs=6)
    run.train(run.Task("ResNet20", "digits", recipe, size=16), settings["out"])


def main(out: Path = OUT) -> float:
    """Trains in all processes, and reads the accuracy from the run directory."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig  # noqa: PLC0415
    from ray.train.v2.jax import JaxTrainer  # noqa: PLC0415
    from ray.train.v2.jax.config import JaxConfig  # noqa: PLC0415

    from keras_resnet.training import run  # noqa: PLC0415

    # With GPUs set JAX_PLATFORMS to "cuda" and use
    # ScalingConfig(num_workers=WORKERS, use_gpu=True, resources_per_worker={"GPU": 8}).
    variables = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(Path.cwd())}
    JaxTrainer(
        train_in_each_process,
        train_loop_config={"out": str(out)},
        jax_config=JaxConfig(use_gpu=True),  # connects the processes, also on CPUs: JAX_PLATFORMS decides
        scaling_config=ScalingConfig(num_workers=WORKERS),
        run_config=RunConfig(
            storage_path=str(out.parent),
            failure_config=FailureConfig(max_failures=3),  # restarts a failed training at most three times
            worker_runtime_env={"env_vars": variables},
        ),
    ).fit()
    accuracy = run.load_run(out).test_accuracy
    print(f"{accuracy:.1%} of the held-out digits are right")
    return accuracy


if __name__ == "__main__":
    main()
