"""The daemon with the queue, the parameter and the secret of the stack.

The emulator only records RDS instances, so a private PostgreSQL with TLS and the password of the secret replaces them.
Needs `target/debug/bday` (or BDAY_BIN), PostgreSQL's server programs and openssl.
"""

import base64
import contextlib
import datetime
import glob
import hashlib
import hmac
import http.server
import json
import os
import pathlib
import shutil
import signal
import subprocess
import threading
import time
import urllib.parse
import urllib.request

import pytest
from cloudwatch import Metrics
from conftest import AWS, FOR_MINISTACK, REGION, free_port

TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", AWS.parents[1] / "target"))
BDAY = pathlib.Path(os.environ.get("BDAY_BIN", TARGET / "debug" / "bday"))
SERVERS = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[-2]))
MISSING = [
    what
    for what, there in [
        (f"{BDAY} (make build)", BDAY.exists()),
        ("PostgreSQL's server programs (apt-get install postgresql)", SERVERS),
        ("openssl", shutil.which("openssl")),
    ]
    if not there
]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")


class Postgres:
    """A temporary server with TLS and the user of the secret."""

    def __init__(self, directory, password):
        self.directory, self.port, self.ca = directory, free_port(), directory / "ca.pem"
        # The server refuses to run as root.
        self.prefix = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--init-groups"] if os.geteuid() == 0 else []
        self.certificates()
        (directory / "password").write_text(password)
        if self.prefix:
            shutil.chown(directory, "postgres")
            for path in directory.iterdir():
                shutil.chown(path, "postgres")
        self.run("initdb", "-D", "data", "-U", "bday", "--auth=scram-sha-256", "--pwfile=password")
        with (directory / "data" / "postgresql.conf").open("a") as settings:
            settings.write(f"port = {self.port}\nlisten_addresses = 'localhost'\nunix_socket_directories = '{directory}'\n")
            settings.write(f"ssl = on\nssl_cert_file = '{directory}/server.pem'\nssl_key_file = '{directory}/server.key'\nfsync = off\n")
        hba = directory / "data" / "pg_hba.conf"
        hba.write_text("local all all trust\nhostssl all all all scram-sha-256\n")
        self.run("pg_ctl", "-D", "data", "-l", "log", "-w", "start")
        self.sql("create database bday", database="postgres")

    def certificates(self):
        """A certificate authority and a server certificate for localhost, for verify-full."""
        subject = ["-subj", "/CN=test authority", "-days", "2"]
        self.openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", *subject)
        self.openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
        (self.directory / "names").write_text("subjectAltName=DNS:localhost\n")
        signed = ["-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names"]
        self.openssl("x509", "-req", "-days", "2", "-out", "server.pem", *signed)
        (self.directory / "server.key").chmod(0o600)

    def openssl(self, *arguments):
        subprocess.run(["openssl", *arguments], cwd=self.directory, check=True, capture_output=True)

    def run(self, program, *arguments):
        subprocess.run([*self.prefix, f"{SERVERS[-1]}/{program}", *arguments], cwd=self.directory, check=True, stdout=subprocess.DEVNULL)

    def sql(self, statement, database="bday"):
        connection = ["-h", str(self.directory), "-p", str(self.port), "-U", "bday", "-d", database]
        subprocess.run(["psql", "-qX", *connection, "-v", "ON_ERROR_STOP=1", "-c", statement], check=True)

    def stop(self):
        with contextlib.suppress(subprocess.CalledProcessError):
            self.run("pg_ctl", "-D", "data", "-m", "immediate", "stop")


class Receiver(http.server.ThreadingHTTPServer):
    """Accepts greetings and stores them with their paths."""

    def __init__(self):
        self.accepted, self.delay = [], 0
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                time.sleep(receiver.delay)
                receiver.accepted.append((self.path, body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}/{path}"

    def until(self, number, seconds=60):
        deadline = time.monotonic() + seconds
        while len(self.accepted) < number:
            assert time.monotonic() < deadline, f"{len(self.accepted)} of {number} arrived"
            time.sleep(0.05)

    def wait_for(self, name, path, seconds=30):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for at, body in list(self.accepted):
                if name in body["message"] and at == f"/{path}":
                    assert set(body) == {"message", "userId", "eventId", "timestamp"}
                    return
            time.sleep(0.1)
        raise AssertionError(f"no greeting for {name} at /{path}; received: {self.accepted}")


class Providers(http.server.ThreadingHTTPServer):
    """Slack and Twilio. Twilio rejects the number for WhatsApp, so that SMS is next."""

    SID, TOKEN, BOT = "AC" + "0" * 32, "twilio-token", "xoxb-slack-token"

    def __init__(self):
        self.messages = []
        providers = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                status, answer = providers.answer(self.path, self.headers["authorization"], body)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode())

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def answer(self, path, authorization, body):
        if path == "/api/chat.postMessage":
            assert authorization == f"Bearer {self.BOT}"
            message = json.loads(body)
            self.messages.append(("slack", message["channel"], message["text"]))
            return 200, {"ok": True, "channel": "D1", "ts": "1712345678.000100"}
        assert path == f"/2010-04-01/Accounts/{self.SID}/Messages.json"
        assert authorization == "Basic " + base64.b64encode(f"{self.SID}:{self.TOKEN}".encode()).decode()
        form = dict(urllib.parse.parse_qsl(body))
        self.messages.append((form["From"], form["To"], form["StatusCallback"]))
        return (400, {"code": 21211}) if form["To"].startswith("whatsapp:") else (201, {"sid": "SM1"})

    def urls(self):
        at = f"127.0.0.1:{self.server_port}"
        return {"slack-url": f"slack+http://{self.BOT}@{at}", "twilio-url": f"twilio+http://{self.SID}:{self.TOKEN}@{at}"}


class Daemon:
    """`bday serve` as in the task definition, and other commands with its environment."""

    def __init__(self, environment, log):
        self.environment = {"PATH": os.environ["PATH"], **environment}
        self.log = log
        self.bday("migrate")
        self.process = subprocess.Popen([BDAY, "serve", "--role", "all"], env=self.environment, stdout=log.open("wb"), stderr=subprocess.STDOUT)

    def bday(self, *arguments):
        result = subprocess.run([BDAY, *arguments], env=self.environment, capture_output=True, text=True, timeout=60)
        assert result.returncode == 0, f"bday {arguments}: {result.stdout}{result.stderr}"
        return result.stdout

    @staticmethod
    def noon():
        """Returns a zone where it is about noon, and the local time there."""
        now = datetime.datetime.now(datetime.UTC)
        ahead = 12 - now.hour
        zone = f"Etc/GMT{-ahead:+d}" if ahead else "Etc/UTC"
        return zone, now + datetime.timedelta(hours=ahead)

    def greet(self, name, *contacts):
        """Adds a user whose birthday is today, and runs a tick."""
        zone, there = self.noon()
        self.bday(
            "user", "add", "--first-name", name, "--birth-date", f"1990-{there:%m-%d}", "--time-zone", zone, "--send-at", f"{there:%H:%M}",
            *contacts,
        )  # fmt: skip
        self.bday("tick")

    def until_logged(self, text, seconds=60):
        deadline = time.monotonic() + seconds
        while text not in self.log.read_text():
            assert time.monotonic() < deadline, f"{text} is not in {self.log.read_text()}"
            time.sleep(0.1)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(30)
        finally:
            self.process.kill()


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def own_stack(ministack):
    outputs = ministack.deploy("daemon", FOR_MINISTACK | {"Prefix": "daemon", "DatabaseDeletionProtection": "false"})
    yield outputs
    ministack.delete("daemon")


@pytest.fixture
def secret(ministack, own_stack):
    """The secret of the stack, with a password that needs no escaping: the emulator ignores ExcludePunctuation."""
    manager = ministack.client("secretsmanager")
    value = json.loads(manager.get_secret_value(SecretId="daemon/db-credentials")["SecretString"])
    manager.put_secret_value(SecretId="daemon/db-credentials", SecretString=json.dumps(value | {"password": "first" * 6}))
    return "first" * 6


@pytest.fixture
def postgres(secret, tmp_path_factory):
    directory = tmp_path_factory.mktemp("postgres")
    for parent in [directory, *directory.parents][:3]:
        parent.chmod(0o755)
    made = Postgres(directory, secret)
    yield made
    made.stop()


def here(ministack):
    return {
        "AWS_ENDPOINT_URL": ministack.endpoint,
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "BDAY__HTTP__LISTEN": f"127.0.0.1:{free_port()}",
    }


def test_the_log_of_the_daemon_feeds_the_alarms(ministack, own_stack, receiver, postgres, secret, tmp_path):
    """Applies the metric filters of the stack to the log of the daemon."""
    daemon = Daemon(
        here(ministack)
        | {
            "BDAY__DATABASE__URL": f"postgres://bday:{secret}@localhost:{postgres.port}/bday",
            "BDAY__QUEUE__SQS__URL": own_stack["QueueUrl"],
            "BDAY__WEBHOOK__URL": receiver.url("first"),
        },
        tmp_path / "log",
    )
    try:
        daemon.greet("Ada")
        receiver.wait_for("Ada", "first")
        # The command may be faster than the first pass of the daemon.
        daemon.until_logged('"message":"tick"')
        daemon.bday("pause")
        daemon.greet("Grace")
        daemon.until_logged('"message":"backlog"')
        daemon.bday("resume")
        receiver.wait_for("Grace", "first")
    finally:
        code = daemon.stop()
    assert code == 0, daemon.log.read_text()

    filters = ministack.client("logs").describe_metric_filters(logGroupName=own_stack["LogGroup"])["metricFilters"]
    store = Metrics(filters)
    store.log([(0, line) for line in daemon.log.read_text().splitlines()])
    found = {name: [value for _, value in values] for (_, name, _), values in store.samples.items()}
    assert found["Ticks"] and set(found["Ticks"]) == {1.0}
    assert found["SchedulerErrors"] == [0.0]
    assert set(found["ErrorRate"]) == {0} and 0 <= max(found["LatenessP99"]) < 120_000
    assert set(found["EventsWaiting"]) == {1} and 0 <= max(found["OldestWaiting"]) < 120


def environment_of(ministack, outputs, postgres):
    """Returns the environment of the task. Different from AWS: the address of the database, and the authority of its certificate."""
    task = ministack.client("ecs").describe_task_definition(taskDefinition=outputs["TaskDefinitionArn"])["taskDefinition"]
    environment = {entry["name"]: entry["value"] for entry in task["containerDefinitions"][0]["environment"]}
    return environment | {
        "BDAY__DATABASE__HOST": "localhost",
        "BDAY__DATABASE__PORT": str(postgres.port),
        "BDAY__DATABASE__TLS_ROOT_CERT": str(postgres.ca),
    }


def test_the_daemon_runs_with_the_environment_of_the_task(ministack, own_stack, receiver, postgres, secret, template, monkeypatch, tmp_path):
    """Takes the URL from the parameter and the password from the secret. Both change without a restart."""
    ssm = ministack.client("ssm")

    def webhook(path):
        ssm.put_parameter(Name="/daemon/webhook-url", Value=receiver.url(path), Type="String", Overwrite=True)

    webhook("first")
    daemon = Daemon(environment_of(ministack, own_stack, postgres) | here(ministack), tmp_path / "log")
    try:
        daemon.greet("Ada")
        receiver.wait_for("Ada", "first")

        webhook("second")
        for number in range(90):
            daemon.greet(f"Grace{number}")
            with contextlib.suppress(AssertionError):
                receiver.wait_for(f"Grace{number}", "second", seconds=2)
                break
        else:
            raise AssertionError("the daemon did not read the new URL")

        rotate(ministack, postgres, template, monkeypatch)
        daemon.greet("Katherine")
        receiver.wait_for("Katherine", "second", seconds=60)
        assert daemon.process.poll() is None
    finally:
        code = daemon.stop()
    assert code == 0, daemon.log.read_text()
    assert secret not in daemon.log.read_text()


def test_the_daemon_greets_by_slack_and_twilio_with_the_secrets_of_the_task(ministack, own_stack, postgres, tmp_path):
    providers = Providers()
    manager = ministack.client("secretsmanager")
    secrets = {name: manager.create_secret(Name=f"daemon/{name}", SecretString=url)["ARN"] for name, url in providers.urls().items()}
    outputs = ministack.deploy(
        "daemon",
        {
            "Channels": "slack,whatsapp,sms", "SlackSecret": secrets["slack-url"], "TwilioSecret": secrets["twilio-url"],
            "WhatsappFrom": "+15005550006", "Sms": "twilio:", "SmsFrom": "+15005550007", "PublicUrl": "https://bday.example.org",
        },
    )  # fmt: skip
    own = here(ministack)
    daemon = Daemon(environment_of(ministack, outputs, postgres) | own, tmp_path / "log")
    try:
        daemon.greet("Ada", "--slack-user-id", "U0123456789")
        daemon.greet("Grace", "--phone", "+15558675310")
        deadline = time.monotonic() + 60
        while len(providers.messages) < 3:
            assert time.monotonic() < deadline, (providers.messages, daemon.log.read_text())
            time.sleep(0.05)
        (slack,) = [message for message in providers.messages if message[0] == "slack"]
        assert slack[1] == "U0123456789" and "Ada" in slack[2]
        whatsapp, sms = [message for message in providers.messages if message[0] != "slack"]
        assert whatsapp[:2] == ("whatsapp:+15005550006", "whatsapp:+15558675310")
        assert sms[:2] == ("+15005550007", "+15558675310")

        callback = sms[2]
        assert callback.startswith("https://bday.example.org/callbacks/twilio?event=")
        form = {"MessageSid": "SM1", "MessageStatus": "delivered", "To": sms[1]}
        local = callback.replace("https://bday.example.org", f"http://{own['BDAY__HTTP__LISTEN']}")
        for token, status in [("another token", 403), (providers.TOKEN, 204)]:
            signed = callback + "".join(name + value for name, value in sorted(form.items()))
            signature = base64.b64encode(hmac.new(token.encode(), signed.encode(), hashlib.sha1).digest()).decode()
            request = urllib.request.Request(local, urllib.parse.urlencode(form).encode(), {"x-twilio-signature": signature})
            try:
                answered = urllib.request.urlopen(request, timeout=10).status
            except urllib.error.HTTPError as refused:
                answered = refused.code
            assert answered == status
    finally:
        code = daemon.stop()
        providers.shutdown()
        providers.server_close()
    log = daemon.log.read_text()
    assert code == 0, log
    assert providers.TOKEN not in log and providers.BOT not in log


def until_recorded(ministack, path, daemon):
    """Waits for messages that the emulator has recorded, by account or recipient."""
    deadline = time.monotonic() + 60
    while True:
        (recorded, *_) = json.load(urllib.request.urlopen(f"{ministack.endpoint}/_ministack/{path}", timeout=10)).values()
        if recorded:
            return recorded
        assert time.monotonic() < deadline, daemon.log.read_text()
        time.sleep(0.05)


def test_the_daemon_sends_mail_by_ses_and_sms_by_sns(ministack, own_stack, postgres, tmp_path):
    outputs = ministack.deploy("daemon", {"Channels": "mail,sms", "MailFrom": "greetings@example.com", "Sms": "sns:"})
    ministack.client("sesv2").create_email_identity(EmailIdentity="example.com")
    daemon = Daemon(environment_of(ministack, outputs, postgres) | here(ministack), tmp_path / "log")
    try:
        daemon.greet("Ada", "--email", "ada@example.org")
        ((mail,),) = until_recorded(ministack, "ses/messages", daemon).values()
        assert (mail["Source"], mail["To"]) == ("greetings@example.com", ["ada@example.org"])
        daemon.greet("Grace", "--phone", "+15558675310")
        ((to, (message,)),) = until_recorded(ministack, "sns/sms-messages", daemon).items()
        assert to == "+15558675310" and "Grace" in message["Message"]
    finally:
        code = daemon.stop()
    assert code == 0, daemon.log.read_text()


def test_a_rotation_under_load_loses_no_event_and_needs_no_restart(ministack, own_stack, receiver, postgres, secret, template, monkeypatch, tmp_path):
    """Changes the password and closes every connection while 500 greetings are being delivered."""
    environment = environment_of(ministack, own_stack, postgres) | {"BDAY__WORKER__MAX_IN_FLIGHT": "32"}
    ministack.client("ssm").put_parameter(Name="/daemon/webhook-url", Value=receiver.url("load"), Type="String", Overwrite=True)
    receiver.delay = 0.3
    daemon = Daemon(environment | here(ministack), tmp_path / "log")
    try:
        zone, there = daemon.noon()
        rows = [f"John,Doe {number},1990-{there:%m-%d},{zone},{there:%H:%M}" for number in range(500)]
        people = tmp_path / "people.csv"
        people.write_text("\n".join(["first_name,last_name,birth_date,time_zone,send_at", *rows]))
        daemon.bday("user", "import", people)
        daemon.bday("tick")
        receiver.until(50)
        rotate(ministack, postgres, template, monkeypatch)
        assert len(receiver.accepted) < 500
        receiver.until(500, seconds=120)
        assert daemon.process.poll() is None
    finally:
        code = daemon.stop()
    assert code == 0, daemon.log.read_text()
    assert "database login renewed" in daemon.log.read_text()
    events = [body["eventId"] for _, body in receiver.accepted]
    assert len(events) == len(set(events)) == 500


def rotate(ministack, postgres, template, monkeypatch):
    """Runs the rotation function of the stack on the private PostgreSQL, and closes every open connection."""
    monkeypatch.setenv("DATABASE", "daemon")
    monkeypatch.setenv("AWS_ENDPOINT_URL", ministack.endpoint)
    function = {}
    exec(template["Resources"]["RotationFunction"]["Properties"]["Code"]["ZipFile"], function)

    class Rds:
        def modify_db_instance(self, MasterUserPassword, **_):
            postgres.sql(f"alter user bday password '{MasterUserPassword}'")
            postgres.sql("select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and backend_type = 'client backend'")

        def describe_db_instances(self, **_):
            return {"DBInstances": [{"DBInstanceStatus": "available", "PendingModifiedValues": {}}]}

    function["rds"] = Rds()
    event = {"SecretId": "daemon/db-credentials", "ClientRequestToken": "22222222-2222-4333-8444-555555555555"}
    for step in ("createSecret", "setSecret", "testSecret", "finishSecret"):
        function["handler"](event | {"Step": step}, None)
