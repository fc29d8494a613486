"""The baseline: what any engineer would write first. One lookup of features in Redis, one model call, top three.

It has no rules, consent, caps, reasons, audit or fallback; it is here to be measured beside the product on the same
model, the same candidates and the same machine. Started by `loadtests.bench_http`, not a part of the product.
"""

import json
import os

import lightgbm
import numpy as np
import redis.asyncio as redis
from fastapi import FastAPI
from pydantic import BaseModel

settings = json.loads(os.environ["BASELINE"])  # redis_url, model_file, columns, candidates
app = FastAPI()
store = redis.from_url(settings["redis_url"])
booster = lightgbm.Booster(model_file=settings["model_file"])
candidates = np.array(settings["candidates"], dtype=float)  # one row an offer: its own columns
names = settings["offers"]


class Ask(BaseModel):
    request_id: str
    customer_id: str
    count: int = 3


@app.post("/decide")
async def decide(ask: Ask) -> dict:
    found = await store.hgetall(f"features:{ask.customer_id}")
    customer = [float(found.get(name.encode(), "nan")) for name in settings["columns"]]
    matrix = np.hstack([np.tile(customer, (len(candidates), 1)), candidates])
    scores = booster.predict(matrix)
    best = np.argsort(-scores)[: ask.count]
    return {"request_id": ask.request_id, "offers": [{"offer": names[i], "score": float(scores[i])} for i in best]}
