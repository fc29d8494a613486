"""MLServer with a custom runtime: one read of a customer's features from Redis, one model call, top three.

Runs in the environment of `make setup-peers` (mlserver.txt), started by `loadtests.side_by_side`: `python
mlserver_runtime.py`. The same work and the same client of Redis as the naive application's; asked in MLServer's own
protocol (V2 inference, one text). No worker processes: one process on one core, as every contestant. PEER is JSON:
redis_url, model_file, columns, candidates, offers, port.
"""

import asyncio
import json
import os

import lightgbm
import numpy as np
import redis.asyncio as redis
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput

COUNT = 3
peer = json.loads(os.environ["PEER"])


class Offers(MLModel):
    """The runtime."""

    async def load(self) -> bool:
        """Opens what a request needs."""
        self.store = redis.from_url(peer["redis_url"])
        self.booster = lightgbm.Booster(model_file=peer["model_file"])
        self.candidates = np.array(peer["candidates"], dtype=float)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Names and scores of the best offers."""
        asked = payload.inputs[0].data[0]
        customer_id = asked.decode() if isinstance(asked, bytes) else asked
        found = await self.store.hgetall(f"features:{customer_id}")
        customer = [float(found.get(name.encode(), "nan")) for name in peer["columns"]]
        matrix = np.hstack([np.tile(customer, (len(self.candidates), 1)), self.candidates])
        scores = self.booster.predict(matrix, num_threads=1)
        best = np.argsort(-scores)[:COUNT]
        outputs = [
            ResponseOutput(name="offer", shape=[COUNT], datatype="BYTES", data=[peer["offers"][i] for i in best]),
            ResponseOutput(name="score", shape=[COUNT], datatype="FP64", data=[float(scores[i]) for i in best]),
        ]
        return InferenceResponse(id=payload.id, model_name=self.name, outputs=outputs)


async def main() -> None:
    """Serves until it is told to stop."""
    settings = Settings(
        debug=False,
        host="127.0.0.1",
        http_port=peer["port"],
        grpc_port=peer["grpc_port"],
        metrics_endpoint=None,
        parallel_workers=0,
        gzip_enabled=False,
    )
    server = MLServer(settings)
    await server.start([ModelSettings(name="offers", implementation=Offers)])


if __name__ == "__main__":
    asyncio.run(main())
