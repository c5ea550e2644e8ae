"""`kairos insights`: figures about campaigns, journeys and channels, from tables."""

import typer

from pipeline.cli.insights_anomalies import anomalies
from pipeline.cli.insights_attribution import attribution
from pipeline.cli.insights_campaigns import campaigns
from pipeline.cli.insights_decisions import decisions
from pipeline.cli.insights_impact import impact
from pipeline.cli.insights_journeys import journeys
from pipeline.cli.insights_off_policy import off_policy
from pipeline.cli.insights_recommend import recommendations
from pipeline.cli.insights_report import report
from pipeline.cli.insights_segments import segments

app = typer.Typer()
app.command()(journeys)
app.command()(campaigns)
app.command()(impact)
app.command()(anomalies)
app.command()(report)
app.command()(segments)
app.command()(attribution)
app.command("off-policy")(off_policy)
app.command("recommend")(recommendations)
app.command("decisions")(decisions)
