"""`experiment_page`: the page of an experiment's run in MLflow's UI."""

from dream.settings import Settings, safe_uri


def experiment_page(settings: Settings, name: str) -> str:
    """The URL of the parent run of an experiment, without credentials; the server's URL if the run is not found or the
    server does not answer; "" for a tracking store without pages, such as a file."""
    server = safe_uri(settings.mlflow_tracking_uri).rstrip("/")
    if not server.startswith(("http://", "https://")):
        return ""
    from dream.tracking.mlflow_runs import TAG_EXPERIMENT, TAG_RUN, mlflow_client

    try:
        client = mlflow_client(settings)
        experiment = client.get_experiment_by_name(settings.mlflow_experiment)
        if experiment is None:
            return server
        condition = f"tags.`{TAG_EXPERIMENT}` = '{name}' and tags.`{TAG_RUN}` = 'experiment'"
        runs = client.search_runs([experiment.experiment_id], condition, max_results=1)
        return f"{server}/#/experiments/{experiment.experiment_id}/runs/{runs[0].info.run_id}" if runs else server
    except Exception:  # noqa: BLE001 - a link is worth no failure: the experiment's name is in the file too
        return server
