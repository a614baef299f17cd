"""Commands for an endpoint elsewhere: RunPod Serverless, or any server with the same paths."""

import typer

endpoint_app = typer.Typer()
