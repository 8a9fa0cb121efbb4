"""``palyra models``: which models there are, how they do, what a call would get."""

import typer

from palyra.cli import models_check, models_explain, models_list, models_set, models_status, routing_report

app = typer.Typer(
    name="models",
    help="Models: which there are, how their providers do, and what a call would get.",
    no_args_is_help=True,
)

app.command("status", epilog=models_status.EPILOG)(models_status.status)
app.command("list", epilog=models_list.EPILOG)(models_list.list_models)
app.command("explain", epilog=models_explain.EPILOG)(models_explain.explain)
app.command("test-connection", epilog=models_check.TEST_EPILOG)(models_check.check_connection)
app.command("discover", epilog=models_check.DISCOVER_EPILOG)(models_check.discover)
app.command("set", epilog=models_set.EPILOG)(models_set.set_model)
app.command("routing-report", epilog=routing_report.EPILOG)(routing_report.routing_report)
