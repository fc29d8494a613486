"""`make test-kafka`: starts a real Apache Kafka (KRaft, one node) and a real Redis, and runs the suites against them.

Kafka comes by its Maven coordinates (`deploy/test-servers/pom.xml`), Redis is the system's `redis-server`; the suites
make a cluster of three of it. All listen on free loopback ports and end with this process.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from services.adapters.embedded_servers import die_with_parent, free_port

ROOT = Path(__file__).parents[1]
SUITES = ("tests/integration",)
START_SECONDS = 120


def main(arguments: Sequence[str]) -> int:
    """Starts both, runs pytest with their addresses, stops both; the exit status is pytest's."""
    missing = [tool for tool in ("java", "mvn", "redis-server") if shutil.which(tool) is None]
    if missing:
        print(f"make test-kafka needs {', '.join(missing)}: install a JDK, Maven and redis-server", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="kairos-real-") as name, ExitStack() as stack:
        folder = Path(name)
        kafka = stack.enter_context(kafka_server(folder, kafka_libraries()))
        redis = stack.enter_context(redis_server(folder))
        print(f"Apache Kafka at {kafka}, Redis at {redis}", flush=True)
        environment = {
            **os.environ,
            "KAIROS_TEST_KAFKA": kafka,
            "KAIROS_TEST_REDIS": redis,
            "KAIROS_TEST_REDIS_SERVER": str(shutil.which("redis-server")),
        }
        command = [sys.executable, "-m", "pytest", "-m", "servers", *(arguments or SUITES)]
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def kafka_libraries() -> Path:
    """The broker's jars, resolved once into `var/`."""
    libraries = ROOT / "var" / "kafka-libraries"
    if not any(libraries.glob("kafka_2.13-*.jar")):
        command = ["mvn", "-q", "-B", "-f", str(ROOT / "deploy/test-servers/pom.xml"), "dependency:copy-dependencies"]
        subprocess.run([*command, f"-DoutputDirectory={libraries}", "-DincludeScope=runtime"], check=True)
    return libraries


@contextmanager
def kafka_server(
    folder: Path, libraries: Path, protocol: str = "PLAINTEXT", more: str = "", formatting: Sequence[str] = ()
) -> Iterator[str]:
    """A KRaft broker that is its own controller; yields its bootstrap address. `protocol` is how clients greet it,
    `more` the settings that takes, `formatting` what its storage is to begin with."""
    port, controller = free_port(), free_port()
    settings = folder / "kafka.properties"
    settings.write_text(
        f"""process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners={protocol}://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners={protocol}://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,{protocol}:{protocol}
inter.broker.listener.name={protocol}
{more}
log.dirs={folder / "kafka-log"}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
"""
    )
    java = ["java", "-Xmx768m", "-cp", f"{libraries}/*"]
    cluster = uuid.uuid4().bytes.hex()[:22]
    format_storage = [*java, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(settings), *formatting]
    subprocess.run(format_storage, check=True, capture_output=True)
    with _process([*java, "kafka.Kafka", str(settings)], folder / "kafka.out", port):
        yield f"127.0.0.1:{port}"


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """A Redis without persistence; yields its URL."""
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with _process(command, folder / "redis.out", port):
        yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def _process(command: Sequence[str], log: Path, port: int) -> Iterator[None]:
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink, preexec_fn=die_with_parent)  # noqa: PLW1509
    try:
        _until_listening(process, port, log)
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _until_listening(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"nothing listens on port {port}:\n{log.read_text(errors='replace')[-3000:]}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
