"""FastAPI with the Feast SDK in the process, on Redis: one read of a customer's features, one model call, top three.

Runs in the environment of `make setup-peers` (feast.txt), started by `loadtests.side_by_side`. The same work as the
naive application: it differs in where the features come from. Feast's asynchronous read costs no more than its other
one, and holds nobody up. PEER is JSON: redis_url, model_file, columns, candidates, offers, customers (the values to put
into the store at the start, by customer id), folder.
"""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
from fastapi import FastAPI
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Int64
from pydantic import BaseModel

peer = json.loads(os.environ["PEER"])
columns, names = peer["columns"], peer["offers"]
candidates = np.array(peer["candidates"], dtype=float)
booster = lightgbm.Booster(model_file=peer["model_file"])


def opened_store() -> FeatureStore:
    """A registry of one view in the folder, all customers in the online store."""
    folder = Path(peer["folder"])
    customers = json.loads(Path(peer["customers"]).read_text("utf-8"))
    now = datetime.now(UTC)
    frame = pd.DataFrame.from_dict(customers, orient="index", columns=columns).astype("int64")
    frame.insert(0, "customer_id", frame.index)
    frame["at"] = now
    offline = folder / "offline.parquet"
    frame.head(1).to_parquet(offline)
    store = FeatureStore(
        config=RepoConfig(
            project="peer",
            provider="local",
            registry={"path": str(folder / "registry.db"), "cache_ttl_seconds": 0},  # never read again
            online_store={
                "type": "redis",
                "connection_string": peer["redis_url"].removeprefix("redis://").split("/")[0],
            },
            entity_key_serialization_version=3,
        )
    )
    customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)
    view = FeatureView(
        name="attributes",
        entities=[customer],
        ttl=timedelta(days=365),
        schema=[Field(name=name, dtype=Int64) for name in columns],
        source=FileSource(path=str(offline), timestamp_field="at"),
    )
    store.apply([customer, view])
    store.write_to_online_store("attributes", frame)
    return store


store = opened_store()
service = [f"attributes:{name}" for name in columns]
app = FastAPI()


class Ask(BaseModel):
    """What the naive application takes."""

    request_id: str
    customer_id: str
    count: int = 3


@app.post("/decide")
async def decide(ask: Ask) -> dict:
    """The best offers with their scores."""
    answer = await store.get_online_features_async(features=service, entity_rows=[{"customer_id": ask.customer_id}])
    found = answer.to_dict()
    customer = [np.nan if (value := found[name][0]) is None else value for name in columns]
    matrix = np.hstack([np.tile(customer, (len(candidates), 1)), candidates])
    scores = booster.predict(matrix, num_threads=1)
    best = np.argsort(-scores)[: ask.count]
    return {"request_id": ask.request_id, "offers": [{"offer": names[i], "score": float(scores[i])} for i in best]}
