"""Azure ML's limits, at MLflow's real server: there is no way to Azure's own from here."""

from pathlib import Path

from tests.integrations.driving import MlflowServer, driver

drive = driver("azure_ml")


def test_of_many_params_the_first_ones_are_kept_and_the_others_named(
    tmp_path: Path, mlflow_server: MlflowServer
) -> None:
    """Also after a restart; a param that is there may change, and everything else arrives."""
    setup = ["setup", {"online": True, "options": {"tracking_uri": mlflow_server.url}}]
    first = {f"mine{number}": number for number in range(150)}
    second = {f"theirs{number}": number for number in range(100)}

    drive(tmp_path / "many-params", setup, ["log_params", first], ["log_params", second], ["kill"])
    answers = drive(
        tmp_path / "many-params",
        setup,
        ["log_params", {"one more": 1, "mine0": "changed"}],
        ["log_metrics", [["loss", 0.5, 3, 1.7e9]]],
        ["finish", "finished"],
        ["read", {"online": True, "options": {"tracking_uri": mlflow_server.url}}],
    )

    *_, seen = answers
    assert answers[1] == ["FinalError", "Azure ML holds 200 parameters; all of them are in config.json."]
    assert len(seen["params"]) == 200
    assert (seen["params"]["mine149"], seen["params"]["theirs49"]) == ("149", "49")
    assert ("theirs50" in seen["params"], seen["params"]["mine0"]) == (False, "changed")
    assert (seen["points"], seen["status"]) == ([["loss", 0.5, 3]], "finished")
