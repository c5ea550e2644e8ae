"""Benchmark of the package ChannelAttribution on a table of paths; run by the Python that has it.

The package is under the GPL: installed for this comparison only, and never imported by Kairos.
Arguments: the table (CSV: path, conversions, value, nulls) and the number of threads. Prints JSON:
seconds by part, and the conversions that its Markov model credits.
"""

import contextlib
import io
import json
import sys
import time


def main(file: str, threads: int) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        import ChannelAttribution
        import pandas

        begin_s = time.perf_counter()
        table = pandas.read_csv(file)
        seconds = {"read": time.perf_counter() - begin_s}
        columns = {"var_path": "path", "var_conv": "conversions", "var_value": "value"}
        begin_s = time.perf_counter()
        ChannelAttribution.heuristic_models(table, **columns, flg_pro=False)
        seconds["heuristics"] = time.perf_counter() - begin_s
        begin_s = time.perf_counter()
        model = ChannelAttribution.markov_model(
            table,
            **columns,
            var_null="nulls",
            order=1,
            ncore=threads,
            seed=1,
            verbose=False,
            flg_pro=False,
        )
        seconds["markov"] = time.perf_counter() - begin_s
    credits = dict(zip(model["channel_name"], map(float, model["total_conversions"]), strict=True))
    print(json.dumps({"seconds": seconds, "conversions": credits}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
