"""One training on many machines: Ray starts a process on each, JAX joins them, each reads its part of every batch.

The same training without Ray, typed once on each machine:

    keras-resnet train ResNet20 --data digits --out runs/many --backend jax \\
        --processes 2 --process 0 --coordinator HOST:PORT

with --process 1 on the second one; or by Slurm, where JAX finds the rest: `srun -n 2 keras-resnet train ... --backend
jax --processes 0`. A training that is killed goes on from its last checkpoint when it is started again.

Run:     python examples/many_machines.py    (after pip install 'ray[train]'; two processes of this machine, no GPU)
Time:    three minutes on two cores, with Ray 2.60
Result:  prints the accuracy on held-out digits, 97 % or more, and leaves a run in runs/many
"""

from pathlib import Path

OUT = Path("runs/many").absolute()  # a directory that all machines see
WORKERS = 2


def train_in_each_process(settings: dict[str, str]) -> None:
    """What every process runs, joined to the others by Ray before."""
    import dataclasses  # noqa: PLC0415

    from keras_resnet.training import RECIPES, run  # noqa: PLC0415  (Keras begins in the processes, not before)

    recipe = dataclasses.replace(RECIPES["one_cycle"], epochs=6)
    run.train(run.Task("ResNet20", "digits", recipe, size=16), settings["out"])


def main(out: Path = OUT) -> float:
    """Trains on all processes, and reads what the run says."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig  # noqa: PLC0415
    from ray.train.v2.jax import JaxTrainer  # noqa: PLC0415
    from ray.train.v2.jax.config import JaxConfig  # noqa: PLC0415

    from keras_resnet.training import run  # noqa: PLC0415

    # On GPUs: "cuda", and ScalingConfig(num_workers=WORKERS, use_gpu=True, resources_per_worker={"GPU": 8}).
    variables = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(Path.cwd())}
    JaxTrainer(
        train_in_each_process,
        train_loop_config={"out": str(out)},
        jax_config=JaxConfig(use_gpu=True),  # joins the processes; those of JAX_PLATFORMS, without a GPU too
        scaling_config=ScalingConfig(num_workers=WORKERS),
        run_config=RunConfig(
            storage_path=str(out.parent),
            failure_config=FailureConfig(max_failures=3),  # starts it again
            worker_runtime_env={"env_vars": variables},
        ),
    ).fit()
    accuracy = run.load_run(out).test_accuracy
    print(f"{accuracy:.1%} of the held-out digits are right")
    return accuracy


if __name__ == "__main__":
    main()
