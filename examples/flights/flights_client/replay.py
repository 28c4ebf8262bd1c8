"""One month: requests at an even pace, labels one chunk late, and what every compared model would have answered."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import numpy as np
import pyarrow as pa

from flights_client import inference, store
from flights_client.month import TARGET, chunks_of


async def replay(
    month: int, *, sql: str, rows: int, chunk: int, seconds: float, seed: int, deployment: str, shadows: list[str]
) -> dict[str, Any]:
    """Replays a month; prints a JSON line a chunk, and returns requests, errors, latency and mean absolute errors.

    The deployment gets single rows over HTTP and gRPC; each shadow gets the same rows as one request a chunk.
    """
    s3 = store.client()
    sent, begin = 0, time.monotonic()
    absolute: dict[str, list[np.ndarray]] = {name: [] for name in (deployment, *shadows)}
    latencies: list[float] = []
    versions: dict[str, int] = {}
    errors: list[str] = []
    late: tuple[str, pa.Table] | None = None
    labelled = []
    for number, table in enumerate(chunks_of(s3, month, sql=sql, rows=rows, chunk=chunk, seed=seed)):
        ids = [f"2013-{month:02d}-{number:03d}-{row:05d}" for row in range(table.num_rows)]
        truth = table[TARGET].to_numpy().astype(float)
        answers = await inference.single_rows(deployment, deployment, table, ids)
        absolute[deployment].append(np.abs(answers.predictions - truth))
        for shadow in shadows:
            absolute[shadow].append(np.abs((await inference.whole_table(shadow, shadow, table)).predictions - truth))
        latencies += answers.seconds
        errors += answers.errors
        for version, count in answers.versions.items():
            versions[version] = versions.get(version, 0) + count
        if late:
            store.write_table(s3, *late)
        late = (
            f"labels/2013-{month:02d}-{number:03d}.parquet",
            pa.table({"request_id": ids, TARGET: pa.array(truth)}),
        )
        labelled.append(table)
        sent += table.num_rows
        print(json.dumps({"sent": sent, "errors": len(errors)}), flush=True)
        await asyncio.sleep(max(0.0, begin + seconds * sent / rows - time.monotonic()))
    if late:
        store.write_table(s3, *late)
    store.write_table(s3, f"labelled/2013-{month:02d}.parquet", pa.concat_tables(labelled))
    p50, p99 = np.percentile(latencies, [50, 99]) * 1000 if latencies else (float("nan"), float("nan"))
    errors_by_model = {name: np.concatenate(parts) for name, parts in absolute.items()}
    answered = np.all([np.isfinite(each) for each in errors_by_model.values()], axis=0)
    return {
        "month": month,
        "requests": sent,
        "errors": len(errors),
        "firstError": errors[0] if errors else None,
        "versions": versions,
        # all models on the very same rows
        "mae": {name: float(np.mean(each[answered])) for name, each in errors_by_model.items()},
        "latencyMs": {"p50": float(p50), "p99": float(p99)},
        "seconds": time.monotonic() - begin,
    }
